import pytest

from l4s_utils import experiments
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


def test_the_fourteen_rows_are_table_5():
    made = {
        name: (e.paper.f1, e.bands, e.loss, e.augment, e.model, e.image_size) for name, e in experiments.PAPER.items()
    }
    assert made == TABLE5


def test_table_2_gives_each_f1_from_its_precision_and_recall():
    losses = [e.paper for e in experiments.PAPER.values() if e.paper.recall]
    assert len(losses) == 6
    for paper in losses:
        p, r = paper.precision, paper.recall
        assert round(2 * p * r / (p + r), 3) == pytest.approx(paper.f1, abs=0.0011)


def test_figure_2_has_24_cells_and_pca_alone_is_reduced():
    assert len(experiments.FIGURE2) == 24
    assert experiments.FIGURE2["fig2_swin_rgb"].paper.f1 == 0.656
    assert experiments.FIGURE2["fig2_unet_all"].paper.f1 == 0.611
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
