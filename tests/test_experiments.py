import pytest

from l4s_utils import bands, experiments
from l4s_utils.errors import UsageError

TABLE5 = {
    "all": (0.721, "ALL", "ce", "none", "unet", 128),
    "rgb": (0.676, "RGB_PRINTED", "ce", "none", "unet", 128),
    "rgb_height": (0.718, "RGB_HEIGHT_PRINTED", "ce", "none", "unet", 128),
    "rgb_height_nir": (0.715, "RGB_HEIGHT_NIR_PRINTED", "ce", "none", "unet", 128),
    "all_aug": (0.736, "ALL", "ce", "paper", "unet", 128),
    "lovasz": (0.756, "ALL", "lovasz", "paper", "unet", 128),
    "lovasz_256": (0.755, "ALL", "lovasz", "paper", "unet", 256),
    "wce_2": (0.745, "ALL", "wce_2", "paper", "unet", 128),
    "wce_3": (0.747, "ALL", "wce_3", "paper", "unet", 128),
    "wce_5": (0.718, "ALL", "wce_5", "paper", "unet", 128),
    "wce_10": (0.683, "ALL", "wce_10", "paper", "unet", 128),
    "swint_unet_rgb_256": (0.726, "RGB_PRINTED", "lovasz", "paper", "swint_unet", 256),
    "swint_unet_256": (0.745, "ALL", "lovasz", "paper", "swint_unet", 256),
    "segformer_b0_512": (0.728, "ALL", "lovasz", "paper", "segformer_b0", 512),
}

TABLE2 = {  # recall, precision
    "all_aug": (0.673, 0.811),
    "lovasz": (0.741, 0.771),
    "wce_2": (0.776, 0.716),
    "wce_3": (0.782, 0.715),
    "wce_5": (0.839, 0.628),
    "wce_10": (0.893, 0.553),
}
COLUMNS = ("rgb", "swir", "ngb", "pca", "rgb_nir", "rgb_swir", "rgb_nir_swir", "all")
FIGURE2 = {
    "swin": ("swin_upernet", [65.6, 55.6, 60.8, 49.5, 63.3, 58.2, 54.8, 55.8]),
    "deeplabv3": ("deeplabv3", [58.0, 50.2, 59.2, 46.8, 57.2, 55.9, 57.5, 57.8]),
    "unet": ("unet", [59.2, 52.1, 58.9, 52.4, 59.4, 59.8, 60.0, 61.1]),
}


def test_the_fourteen_rows_are_table_5():
    made = {
        name: (e.paper.f1, e.bands, e.loss, e.augment, e.model, e.image_size) for name, e in experiments.PAPER.items()
    }
    assert made == TABLE5


def test_table_2_gives_each_f1_from_its_precision_and_recall():
    losses = {name: e.paper for name, e in experiments.PAPER.items() if e.paper.recall}
    assert {name: (paper.recall, paper.precision) for name, paper in losses.items()} == TABLE2
    for paper in losses.values():
        p, r = paper.precision, paper.recall
        assert round(2 * p * r / (p + r), 3) == pytest.approx(paper.f1, abs=0.0011)


def test_figure_2_has_24_cells_and_pca_alone_is_reduced():
    assert len(experiments.FIGURE2) == 24
    for short, (model, values) in FIGURE2.items():
        cells = [experiments.FIGURE2[f"fig2_{short}_{bands}"] for bands in COLUMNS]
        assert [round(100 * cell.paper.f1, 1) for cell in cells] == values
        assert {(cell.model, cell.image_size, cell.loss, cell.augment) for cell in cells} == {
            (model, 128, "ce", "none")
        }
    assert [len(bands.names(experiments.FIGURE2[f"fig2_unet_{name}"].bands)) for name in COLUMNS] == [
        *(3, 3, 3, 14, 4, 6, 7, 14)
    ]
    reduced = [name for name, e in experiments.FIGURE2.items() if e.components]
    assert reduced == ["fig2_swin_pca", "fig2_deeplabv3_pca", "fig2_unet_pca"]


def test_the_paper_preset_is_as_printed():
    preset = experiments.PRESETS["paper"]
    assert (preset.max_epochs, preset.patience, preset.batch_size) == (100, 15, 16)
    assert (preset.lr, preset.min_lr, preset.segformer_min_lr, preset.weight_decay) == (6e-5, 1e-6, 1e-7, 0.01)
    assert (preset.schedule, preset.width, preset.largest, preset.limit) == ("cosine", 64, 512, None)


def test_unknown_names_list_the_choices():
    with pytest.raises(UsageError, match="unknown experiment 'lovas'.*lovasz.*fig2_"):
        experiments.get("lovas")
    with pytest.raises(UsageError, match="choose from smoke, demo, paper"):
        experiments.get_preset("fast")


@pytest.mark.parametrize(
    "printed, true, sets",
    [
        ("rgb", "rgb_true", "RGB"),
        ("rgb_height", "rgb_true_height", "RGB_HEIGHT"),
        ("rgb_height_nir", "rgb_true_height_nir", "RGB_HEIGHT_NIR"),
        ("swint_unet_rgb_256", "swint_unet_rgb_true_256", "RGB"),
    ],
)
def test_the_other_reading_changes_the_bands_alone(printed, true, sets):
    a, b = vars(experiments.get(printed)), vars(experiments.get(true))
    assert {field for field in a if a[field] != b[field]} - {"question"} == {"name", "bands"}
    assert b["bands"] == sets


@pytest.mark.parametrize(
    "name, baseline, differs",
    [
        ("rgb", "all", {"bands"}),
        ("all_aug", "all", {"augment"}),
        ("lovasz", "all_aug", {"loss"}),
        ("wce_5", "all_aug", {"loss"}),
        ("lovasz_256", "lovasz", {"image_size"}),
        ("swint_unet_256", "lovasz_256", {"model"}),
        ("swint_unet_rgb_256", "swint_unet_256", {"bands"}),
        ("segformer_b0_512", "lovasz", {"model", "image_size"}),
    ],
)
def test_a_row_differs_from_its_baseline_in_what_it_asks(name, baseline, differs):
    a, b = vars(experiments.PAPER[name]), vars(experiments.PAPER[baseline])
    assert {field for field in a if a[field] != b[field]} - {"name", "question", "paper"} == differs


def test_nothing_is_pretrained_and_every_row_takes_the_papers_split():
    assert len(experiments.REGISTRY) == 14 + 4 + 24
    assert {(e.split, e.pretrained) for e in experiments.REGISTRY.values()} == {("paper", False)}
    assert all(name == e.name for name, e in experiments.REGISTRY.items())
