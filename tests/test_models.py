import copy

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import save_file

from l4s_utils.errors import InputError, UsageError
from l4s_utils.models import MODELS, UNet, build_model

SEGFORMERS = [f"segformer_b{k}" for k in range(6)]
FAMILIES = ["unet", "swint_unet", "segformer_b0", "deeplabv3", "swin_upernet"]
WITH_WEIGHTS = FAMILIES[1:]
# The same in most tests: on a CPU, compiling kernels for new shapes takes longer than running them.
TINY = {"image_size": 32, "width": 4}


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def output_shape(model, *shape):
    return tuple(model.eval()(torch.randn(*shape)).shape)


def test_names():
    assert MODELS == ("unet", "swint_unet", *SEGFORMERS, "deeplabv3", "swin_upernet")
    with pytest.raises(UsageError, match="unknown model 'u-net': choose from unet, swint_unet, "):
        build_model("u-net", 14)


def test_published_sizes():
    unet = parameters(build_model("unet", 14))
    segformer = parameters(build_model("segformer_b0", 14, image_size=512))
    assert unet == 31_044_034
    assert segformer == 3_731_906
    assert round(100 * segformer / unet, 1) == 12.0
    assert parameters(build_model("swint_unet", 14, image_size=256)) == 31_645_020


def test_unet_is_the_published_layer_list():
    # Channels of the convolutions in the order of the data; 14 -> 64 -> ... -> 1024 -> ... -> 64 -> 2.
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    model = build_model("unet", 14)
    down = [m for part in (model.stem, model.down) for m in part.modules() if isinstance(m, kinds)]
    assert [m.out_channels for m in down] == [64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024]
    assert all(m.bias is None for m in down)
    assert [(m.in_channels, m.out_channels) for m in model.up] == [
        (1024, 512),
        (512, 256),
        (256, 128),
        (128, 64),
    ]
    assert [m[0].in_channels for m in model.fuse] == [1024, 512, 256, 128]


@pytest.mark.parametrize("name", MODELS)
def test_shapes(name):
    model = build_model(name, 14, **TINY)
    assert output_shape(model, 2, 14, 32, 32) == (2, 2, 32, 32)
    assert model.first_layer == "random"


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("image_size", [64, 128, 192, 256])
def test_image_sizes(name, image_size):
    model = build_model(name, 14, image_size, width=4)
    assert output_shape(model, 1, 14, image_size, image_size) == (1, 2, image_size, image_size)


def test_segformer_at_512():
    assert output_shape(build_model("segformer_b0", 14, 512, width=4), 1, 14, 512, 512) == (1, 2, 512, 512)


def test_unet_takes_odd_sizes():
    assert output_shape(UNet(3, width=4), 1, 3, 37, 50) == (1, 2, 37, 50)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("bands", [1, 2, 3, 14])
def test_any_number_of_bands(name, bands):
    model = build_model(name, bands, **TINY)
    assert output_shape(model, 1, bands, 32, 32) == (1, 2, 32, 32)


@pytest.mark.parametrize("name", FAMILIES)
def test_width_scales_the_whole_architecture(name):
    # Twice the channels are close to four times the weights; deeplabv3's first layer does not scale.
    ratio = parameters(build_model(name, 14, width=32)) / parameters(build_model(name, 14, width=16))
    assert 3.8 < ratio < 4.05


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("swint_unet", {"image_size": 100}, "image_size 100: choose a multiple of 32, at least 32"),
        ("segformer_b0", {"image_size": 0}, "image_size 0: choose a multiple of 32, at least 32"),
        ("deeplabv3", {"image_size": 100}, "image_size 100: choose a multiple of 8, at least 8"),
        ("unet", {"image_size": 15}, "image_size 15: choose at least 16"),
        ("unet", {"width": 6}, "width 6: choose a multiple of 4"),
        ("unet", {"pretrained": True}, "unet has no published weights"),
        ("swint_unet", {"pretrained": True, "width": 32}, "has width 64, not 32"),
    ],
)
def test_unsupported_settings_are_named(name, settings, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_model(name, 14, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_channels_last_in_bfloat16_autocast(name):
    model = build_model(name, 14, **TINY).to(memory_format=torch.channels_last)
    images = torch.randn(2, 14, 32, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
    logits.float().sum().backward()
    assert logits.shape == (2, 2, 32, 32) and logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_survive_a_file(name, tmp_path):
    first, second = (build_model(name, 14, **TINY).eval() for _ in range(2))
    images = torch.randn(2, 14, 32, 32)
    with torch.no_grad():
        assert not torch.equal(first(images), second(images))
        torch.save(first.state_dict(), tmp_path / "weights.pt")
        second.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(first(images), second(images))


def gradients(model, images):
    model = copy.deepcopy(model).train()
    torch.manual_seed(0)  # dropout and stochastic depth
    model(images).square().mean().backward()
    return [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_twice(name):
    model, images = build_model(name, 14, **TINY), torch.randn(2, 14, 32, 32)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(model, images), gradients(model, images)
    finally:
        torch.use_deterministic_algorithms(False)
    assert first and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ["deeplabv3", "swin_upernet"])
def test_a_batch_of_one_cannot_train(name):
    model = build_model(name, 14, **TINY)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.randn(1, 14, 32, 32))


# Pretrained weights: a stand-in hub with random weights under the published names.

FIRST_LAYER_TEXTS = {
    1: "ImageNet RGB weights summed into one band",
    2: "ImageNet red and green weights, scaled by 3/2",
    3: "ImageNet RGB weights, unchanged",
    14: "ImageNet RGB weights repeated over 14 bands, scaled by 3/14",
}


@pytest.fixture(params=["swint_unet", "segformer_b0", "deeplabv3"])
def hub(request, monkeypatch, tmp_path):
    """A model's name, the RGB weights the hub hands out for it and the name of the first layer's."""
    weights, first = published_weights(request.param)
    save_file(weights, tmp_path / "model.safetensors")
    monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda *a, filename, **k: str(tmp_path / filename))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *a, **k: dict(weights))
    return request.param, weights, first


def published_weights(name):
    if name == "segformer_b0":
        return smp.encoders.get_encoder("mit_b0", weights=None).state_dict(), "patch_embed1.proj.weight"
    if name == "deeplabv3":
        return timm.create_model("resnet50").state_dict(), "conv1.weight"
    return timm.create_model("swin_tiny_patch4_window7_224").state_dict(), "patch_embed.proj.weight"


def encoder_weights(model):
    """Under their published names."""
    encoder = getattr(model.encoder, "model", model.encoder)
    return {key.replace("layers_", "layers."): value for key, value in encoder.state_dict().items()}


def test_pretrained_encoder_has_the_published_weights(hub):
    # At 256 pixels: below 224 timm fits Swin's bias tables to smaller windows.
    name, published, first = hub
    for bands, text in FIRST_LAYER_TEXTS.items():
        model = build_model(name, bands, image_size=256, pretrained=True)
        assert model.first_layer == text
        weights = encoder_weights(model)
        rgb = published[first]
        repeated = rgb[:, [band % 3 for band in range(bands)]] * (3 / bands)
        expected = rgb.sum(1, keepdim=True) if bands == 1 else repeated
        torch.testing.assert_close(weights.pop(first), expected)
        # Also no layer of the encoder is left without its published weights.
        assert all(torch.equal(value, published[key]) for key, value in weights.items())


@pytest.mark.parametrize("hub", ["swint_unet"], indirect=True)
def test_pretrained_swin_at_128_keeps_all_but_the_smallest_windows(hub):
    # Its last stage is 4 x 4 there, smaller than a window of 7: timm interpolates that stage's bias tables.
    name, published, _ = hub
    weights = encoder_weights(build_model(name, 3, image_size=128, pretrained=True))
    changed = {key for key, value in weights.items() if value.shape != published[key].shape}
    assert changed == {f"layers.3.blocks.{k}.attn.relative_position_bias_table" for k in range(2)}
    assert all(torch.equal(value, published[key]) for key, value in weights.items() if key not in changed)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no\ncache"), HfHubHTTPError.__bases__[0]("reset")])
def test_a_hub_out_of_reach_is_one_line(name, error, monkeypatch):
    def unreachable(*args, **kwargs):
        raise error

    monkeypatch.setattr(smp.encoders, "hf_hub_download", unreachable)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", unreachable)
    message = f"could not fetch the ImageNet weights of {name} from the Hugging Face hub .*pretrained=False"
    with pytest.raises(InputError, match=message) as caught:
        build_model(name, 14, pretrained=True)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_random_weights_need_no_network(name, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.socket.connect", no_network)
    build_model(name, 14, **TINY)
