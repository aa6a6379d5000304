"""The architectures of the study, all as (N, C, H, W) float -> (N, 2, H, W) logits.

The UNet is written out here because segmentation_models_pytorch (smp) has none without a
pretrained backbone; every other architecture is smp's, with encoders from smp or timm.
"""

import copy
from functools import partial

import segmentation_models_pytorch as smp
import torch
from huggingface_hub.errors import HfHubHTTPError
from segmentation_models_pytorch.encoders import encoders as smp_encoders
from torch import nn
from torch.nn import functional as F

from l4s_utils.errors import InputError, UsageError, choose

CLASSES = 2
FULL_WIDTH = 64

# The hub's errors are OSErrors, but those of the HTTP library beneath it, which changed over its
# versions, need not be: a transfer that breaks off raises one of them.
_FETCH_ERRORS = (OSError, *HfHubHTTPError.__bases__)


def build_model(name, in_channels, image_size=128, width=64, pretrained=False) -> nn.Module:
    """A segmentation model with logits for background (0) and landslide (1).

    name: one of `MODELS`.
    in_channels: number of bands, 1 or more.
    image_size: H and W in pixels. Swin's attention windows are fitted to it, so weights trained at one
        size below 224 do not load at another.
    width: scales the channels of every stage; 64 is the published architecture. A multiple of 4.
        In `deeplabv3` the first layer keeps its 64 channels (timm fixes them).
    pretrained: ImageNet weights in the encoder, from the Hugging Face hub, at width 64 only.
        Random weights need no network.

    The model's `first_layer` (str) says what the layer that meets the bands started from.
    `deeplabv3` and `swin_upernet` cannot be trained on a batch of one: they normalise a pooled
    1 x 1 map over the batch.

    Raises UsageError for an unknown name or an unsupported size, width or pretraining, InputError if the
    weights cannot be fetched.
    Source: paper, section 3 and table 3; `deeplabv3` and `swin_upernet`: Ghorbanzadeh et al. 2022.
    """
    build, multiple, smallest = _MODELS[choose("model", name, MODELS)]
    if image_size < smallest or image_size % multiple:
        wanted = f"a multiple of {multiple}, at least {smallest}" if multiple > 1 else f"at least {smallest}"
        raise UsageError(f"{name} cannot take image_size {image_size}: choose {wanted}")
    if width < 4 or width % 4:
        raise UsageError(f"width {width}: choose a multiple of 4 (64 is the published width)")
    if pretrained and name == "unet":
        raise UsageError("unet has no published weights: set pretrained=False")
    if pretrained and width != FULL_WIDTH:
        raise UsageError(f"pretrained {name} has width {FULL_WIDTH}, not {width}: set pretrained=False")
    try:
        model = build(in_channels, image_size, width, pretrained)
    except _FETCH_ERRORS as error:
        raise InputError(
            f"could not fetch the ImageNet weights of {name} from the Hugging Face hub "
            f"({type(error).__name__}): connect once to fill the cache, or set pretrained=False"
        ) from None
    model.first_layer = _first_layer(in_channels) if pretrained else "random"
    return model


def _first_layer(in_channels):
    """What smp and timm both make of the RGB weights of the first convolution."""
    if in_channels == 1:
        return "ImageNet RGB weights summed into one band"
    if in_channels == 2:
        return "ImageNet red and green weights, scaled by 3/2"
    if in_channels == 3:
        return "ImageNet RGB weights, unchanged"
    return f"ImageNet RGB weights repeated over {in_channels} bands, scaled by 3/{in_channels}"


class UNet(nn.Module):
    """UNet with BatchNorm and transposed convolutions, `width` to 16 x `width` channels.

    31,044,034 parameters at 14 bands and width 64. Any H, W of at least 16.
    Source: Ronneberger et al. 2015, in the form of milesial/Pytorch-UNet, which the paper names.
    """

    def __init__(self, in_channels, width=64):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.stem = _double_conv(in_channels, width)
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), _double_conv(w, 2 * w)) for w in widths[:-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, kernel_size=2, stride=2) for w in reversed(widths[:-1]))
        self.fuse = nn.ModuleList(_double_conv(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, CLASSES, kernel_size=1)

    def forward(self, x):
        skips = [self.stem(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up, fuse in zip(self.up, self.fuse, strict=True):
            skip, x = skips.pop(), up(x)
            if x.shape[-2:] != skip.shape[-2:]:
                # Pooling drops the last row or column of an odd size: put it back.
                x = F.pad(x, (0, skip.shape[-1] - x.shape[-1], 0, skip.shape[-2] - x.shape[-2]))
            x = fuse(torch.cat([skip, x], 1))
        return self.head(x)


def _double_conv(in_channels, out_channels):
    layers = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _scaled(channels, width):
    return tuple(c * width // FULL_WIDTH for c in channels)


def _unet(in_channels, image_size, width, pretrained):
    return UNet(in_channels, width)


def _swin(in_channels, image_size, width, pretrained):
    """Arguments that make smp use timm's Swin-T, its windows fitted to the image size."""
    return {
        "encoder_name": "tu-swin_tiny_patch4_window7_224",
        "encoder_weights": True if pretrained else None,  # False would download too
        "in_channels": in_channels,
        "classes": CLASSES,
        "img_size": image_size,
        "embed_dim": 96 * width // FULL_WIDTH,
    }


def _swint_unet(in_channels, image_size, width, pretrained):
    decoder = _scaled((256, 128, 64, 32, 16), width)
    return smp.Unet(**_swin(in_channels, image_size, width, pretrained), decoder_channels=decoder)


def _swin_upernet(in_channels, image_size, width, pretrained):
    decoder = 256 * width // FULL_WIDTH
    return smp.UPerNet(**_swin(in_channels, image_size, width, pretrained), decoder_channels=decoder)


def _deeplabv3(in_channels, image_size, width, pretrained):
    return smp.DeepLabV3(
        "tu-resnet50",
        encoder_weights=True if pretrained else None,
        in_channels=in_channels,
        classes=CLASSES,
        channels=_scaled((64, 128, 256, 512), width),
        decoder_channels=256 * width // FULL_WIDTH,
    )


def _segformer(variant, in_channels, image_size, width, pretrained):
    return smp.Segformer(
        _mit(variant, width),
        encoder_weights="imagenet" if pretrained else None,
        in_channels=in_channels,
        classes=CLASSES,
        decoder_segmentation_channels=256 * width // FULL_WIDTH,
    )


def _mit(variant, width):
    """Name of the Mix Transformer of that width, entered in smp's table of encoders if need be.

    smp takes an encoder by name only and passes no options on to this one.
    """
    if width == FULL_WIDTH:
        return variant
    name = f"{variant}_width{width}"
    entry = copy.deepcopy(smp_encoders[variant])
    params = entry["params"]
    params["embed_dims"] = list(_scaled(params["embed_dims"], width))
    params["out_channels"] = [3, 0, *params["embed_dims"]]
    smp_encoders[name] = entry | {"pretrained_settings": {}}
    return name


# name: (how to build it, H and W are a multiple of, and at least)
_MODELS = {
    "unet": (_unet, 1, 16),
    "swint_unet": (_swint_unet, 32, 32),
    **{f"segformer_b{k}": (partial(_segformer, f"mit_b{k}"), 32, 32) for k in range(6)},
    "deeplabv3": (_deeplabv3, 8, 8),
    "swin_upernet": (_swin_upernet, 32, 32),
}
MODELS = tuple(_MODELS)
