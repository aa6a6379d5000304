"""What to run, as data: the paper's rows, their other readings, Figure 2's cells, and the presets."""

from dataclasses import dataclass, replace

from l4s_utils.errors import UsageError


@dataclass(frozen=True)
class Scores:
    """What the paper prints, in [0, 1]; None where it prints nothing."""

    f1: float | None = None
    recall: float | None = None
    precision: float | None = None


@dataclass(frozen=True)
class Experiment:
    """One configuration, and the question it answers.

    bands: name of a set in `bands.SETS`, or band names. components: principal components that the
    bands are reduced to, if any. image_size: pixels a side that the model sees.
    """

    name: str
    question: str
    model: str = "unet"
    bands: str | tuple[str, ...] = "ALL"
    loss: str = "ce"
    augment: str = "none"
    image_size: int = 128
    split: str = "paper"
    pretrained: bool = False
    paper: Scores = Scores()
    components: int | None = None


def _by_name(*experiments):
    return {experiment.name: experiment for experiment in experiments}


_ALL = Experiment("all", "How well does a UNet do on all fourteen bands?", paper=Scores(f1=0.721))
_AUG = Experiment(
    "all_aug",
    "What do flips, turns and colour jitter add?",
    augment="paper",
    paper=Scores(f1=0.736, recall=0.673, precision=0.811),
)
_LOVASZ = Experiment(
    "lovasz",
    "Does optimising IoU directly beat cross entropy?",
    augment="paper",
    loss="lovasz",
    paper=Scores(f1=0.756, recall=0.741, precision=0.771),
)
_SWINT = replace(
    _LOVASZ,
    name="swint_unet_256",
    question="Does a Swin Transformer encoder beat the UNet's own?",
    model="swint_unet",
    image_size=256,
    paper=Scores(f1=0.745),
)


def _wce(weight, f1, recall, precision):
    question = f"What does weighting landslides {weight} to 1 do to recall and precision?"
    return replace(
        _AUG,
        name=f"wce_{weight}",
        question=question,
        loss=f"wce_{weight}",
        paper=Scores(f1, recall, precision),
    )


# The 14 rows of Table 5. Three of them, and swint_unet_rgb_256, take the bands as the paper prints them.
PAPER = _by_name(
    _ALL,
    replace(
        _ALL,
        name="rgb",
        question="How much is lost with bands 2, 3, 4 alone?",
        bands="RGB_PRINTED",
        paper=Scores(f1=0.676),
    ),
    replace(
        _ALL,
        name="rgb_height",
        question="Do slope and elevation make up for the missing bands?",
        bands="RGB_HEIGHT_PRINTED",
        paper=Scores(f1=0.718),
    ),
    replace(
        _ALL,
        name="rgb_height_nir",
        question="Does band 5 add anything to that?",
        bands="RGB_HEIGHT_NIR_PRINTED",
        paper=Scores(f1=0.715),
    ),
    _AUG,
    _LOVASZ,
    replace(
        _LOVASZ,
        name="lovasz_256",
        question="Does the UNet gain from seeing 256 instead of 128 pixels?",
        image_size=256,
        paper=Scores(f1=0.755),
    ),
    _wce(2, 0.745, 0.776, 0.716),
    _wce(3, 0.747, 0.782, 0.715),
    _wce(5, 0.718, 0.839, 0.628),
    _wce(10, 0.683, 0.893, 0.553),
    replace(
        _SWINT,
        name="swint_unet_rgb_256",
        question="How much does the SwinT-UNet lose with bands 2, 3, 4 alone?",
        bands="RGB_PRINTED",
        paper=Scores(f1=0.726),
    ),
    _SWINT,
    replace(
        _LOVASZ,
        name="segformer_b0_512",
        question="How far does an eighth of the parameters go?",
        model="segformer_b0",
        image_size=512,
        paper=Scores(f1=0.728),
    ),
)


def _true(name, reading, bands, question):
    """The same row with the bands that the words name; the paper's value belongs to either reading."""
    return replace(PAPER[name], name=reading, bands=bands, question=question)


TRUE = _by_name(
    _true("rgb", "rgb_true", "RGB", "How much is lost with red, green and blue alone?"),
    _true("rgb_height", "rgb_true_height", "RGB_HEIGHT", "Do slope and elevation make up for the rest?"),
    _true("rgb_height_nir", "rgb_true_height_nir", "RGB_HEIGHT_NIR", "Does near infrared add anything to that?"),
    _true(
        "swint_unet_rgb_256",
        "swint_unet_rgb_true_256",
        "RGB",
        "How much does the SwinT-UNet lose with red, green and blue alone?",
    ),
)

# Figure 2's grid: band set -> (title, F1 in % of Swin, DeepLabv3, U-Net), quoted there from Ghorbanzadeh et al. 2022.
FIGURE2_GRID = {
    "rgb": ("RGB", 65.6, 58.0, 59.2),
    "swir": ("SWIR", 55.6, 50.2, 52.1),
    "ngb": ("NGB", 60.8, 59.2, 58.9),
    "pca": ("PCA", 49.5, 46.8, 52.4),
    "rgb_nir": ("RGB + NIR", 63.3, 57.2, 59.4),
    "rgb_swir": ("RGB + SWIR", 58.2, 55.9, 59.8),
    "rgb_nir_swir": ("RGB + NIR + SWIR", 54.8, 57.5, 60.0),
    "all": ("All bands", 55.8, 57.8, 61.1),
}
FIGURE2_MODELS = {"swin": "swin_upernet", "deeplabv3": "deeplabv3", "unet": "unet"}


def _figure2():
    for bands, (title, *values) in FIGURE2_GRID.items():
        for (short, model), f1 in zip(FIGURE2_MODELS.items(), values, strict=True):
            yield Experiment(
                f"fig2_{short}_{bands}",
                f"How does {short} do on {title}?",
                model=model,
                bands="ALL" if bands == "pca" else bands.upper(),
                components=3 if bands == "pca" else None,
                paper=Scores(f1=round(f1 / 100, 3)),
            )


FIGURE2 = _by_name(*_figure2())
REGISTRY = PAPER | TRUE | FIGURE2


@dataclass(frozen=True)
class Preset:
    """How large a study is run. All but `paper` shrink it to fit small machines.

    schedule: `cosine` as in the paper, or `one_cycle`, which learns more in a few epochs.
    width: of the narrowest layer, 64 in the published networks. largest: image sizes above it are
    reduced to it. limit: at most this many training patches, and a third of it for validation and
    for test; None takes all.
    """

    name: str
    max_epochs: int
    patience: int
    batch_size: int
    lr: float
    min_lr: float
    segformer_min_lr: float
    weight_decay: float
    schedule: str
    width: int
    largest: int
    limit: int | None


_PAPER = Preset(
    "paper",
    max_epochs=100,
    patience=15,
    batch_size=16,
    lr=6e-5,
    min_lr=1e-6,
    segformer_min_lr=1e-7,
    weight_decay=0.01,
    schedule="cosine",
    width=64,
    largest=512,
    limit=None,
)
PRESETS = {
    "smoke": replace(
        _PAPER,
        name="smoke",
        max_epochs=2,
        batch_size=4,
        lr=1e-3,
        schedule="one_cycle",
        width=8,
        largest=128,
        limit=12,
    ),
    "demo": replace(
        _PAPER, name="demo", max_epochs=20, batch_size=8, lr=2e-3, schedule="one_cycle", width=16, largest=256
    ),
    "paper": _PAPER,
}


def get(experiment) -> Experiment:
    """The experiment of that name, or the one given. Raises UsageError with the choices."""
    if isinstance(experiment, Experiment):
        return experiment
    if experiment not in REGISTRY:
        raise UsageError(
            f"unknown experiment {experiment!r}: choose from {', '.join(PAPER | TRUE)}, "
            f"or fig2_<{'|'.join(FIGURE2_MODELS)}>_<{'|'.join(FIGURE2_GRID)}>"
        )
    return REGISTRY[experiment]


def get_preset(preset) -> Preset:
    """The preset of that name, or the one given. Raises UsageError with the choices."""
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}: choose from {', '.join(PRESETS)}")
    return PRESETS[preset]


def table():
    """All registered experiments as a DataFrame, one row each."""
    import pandas as pd

    rows = [vars(experiment) | vars(experiment.paper) for experiment in REGISTRY.values()]
    return pd.DataFrame(rows).drop(columns="paper").set_index("name")
