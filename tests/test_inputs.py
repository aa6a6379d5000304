import numpy as np
import torch
from sklearn.decomposition import PCA

from l4s_utils import bands, inputs, patches


def _flat(opened, rows, chosen):
    return opened.values(rows, chosen).transpose(1, 0, 2, 3).reshape(len(bands.names(chosen)), -1)


def test_statistics_come_from_the_training_rows_alone(packed):
    opened = patches.open_set(packed)
    rows = np.array([3, 5, 11])
    prepared = inputs.Inputs(3, 128).fit(opened, rows, "RGB")
    flat = _flat(opened, rows, "RGB")
    assert np.allclose(prepared.mean, flat.mean(axis=1), rtol=1e-5)
    assert np.allclose(prepared.std, flat.std(axis=1), rtol=1e-4)
    out = prepared(torch.from_numpy(opened.values(rows, "RGB")).float())
    assert torch.allclose(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)


def test_a_constant_band_becomes_zero(packed):
    opened = patches.open_set(packed)
    flat = patches.PatchSet(**{**vars(opened), "images": np.full_like(opened.images, 7)})
    prepared = inputs.Inputs(2, 128).fit(flat, [0, 1], ["B4", "slope"])
    values = torch.from_numpy(flat.values([0], ["B4", "slope"])).float()
    assert prepared(values).abs().max() < 1e-5


def test_components_span_what_scikit_learn_finds(packed):
    opened = patches.open_set(packed)
    rows = np.arange(6)
    prepared = inputs.Inputs(14, 128, components=3).fit(opened, rows, "ALL")
    flat = _flat(opened, rows, "ALL")
    standard = ((flat - flat.mean(axis=1, keepdims=True)) / flat.std(axis=1, keepdims=True)).T
    expected = PCA(3, whiten=True).fit_transform(standard)
    out = prepared(torch.from_numpy(opened.values(rows)).float())
    ours = out.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    assert prepared.channels == 3
    for k in range(3):
        assert abs(np.corrcoef(ours[:, k], expected[:, k])[0, 1]) > 0.999
        assert abs(ours[:, k].std() - 1) < 1e-3


def test_masks_resize_to_the_nearest_and_images_smoothly():
    mask = torch.tensor([[[0, 1], [1, 0]]])
    expected = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]])
    assert torch.equal(inputs.resize_masks(mask, 4), expected)
    assert inputs.resize_images(mask[None].float(), 4)[0, 0, 0].tolist() == [0, 0.25, 0.75, 1]


def test_batches_hold_the_files_values_and_every_row_once(packed):
    opened = patches.open_set(packed)
    rows = np.array([9, 2, 17, 4, 20])
    made = list(inputs.Batches(opened, rows, "RGB", 2))
    assert [len(batch["masks"]) for batch in made] == [2, 2, 1]
    values = torch.cat([batch["values"] for batch in made])
    masks = torch.cat([batch["masks"] for batch in made])
    assert torch.allclose(values, torch.from_numpy(opened.values(rows, "RGB")).float(), rtol=1e-6)
    assert np.array_equal(masks.numpy(), opened.masks[rows])


def test_shuffling_follows_seed_and_epoch_and_drops_the_incomplete_batch(packed):
    opened = patches.open_set(packed)

    def first(seed, epoch, rows=range(10), size=4):
        batches = list(inputs.Batches(opened, np.array(rows), "RGB", size, seed=seed, epoch=lambda: epoch))
        return len(batches), batches[0]["values"]

    assert first(0, 1)[0] == 2
    assert torch.equal(first(0, 1)[1], first(0, 1)[1])
    assert not torch.equal(first(0, 1)[1], first(0, 2)[1])
    assert not torch.equal(first(0, 1)[1], first(1, 1)[1])
    assert first(0, 0, rows=range(3))[0] == 1  # the only batch is kept


def test_a_shuffled_epoch_holds_every_row_once_with_its_own_mask(packed):
    opened = patches.open_set(packed)
    marked = patches.PatchSet(**{**vars(opened), "masks": np.zeros_like(opened.masks)})
    marked.masks[:] = np.arange(24, dtype=np.uint8)[:, None, None]
    batches = list(inputs.Batches(marked, np.arange(4, 24), "RGB", 5, epoch=lambda: 0))
    seen = torch.cat([batch["masks"][:, 0, 0] for batch in batches]).tolist()
    assert seen != list(range(4, 24)) and sorted(seen) == list(range(4, 24))
    values = torch.cat([batch["values"] for batch in batches])
    assert torch.allclose(values, torch.from_numpy(opened.values(seen, "RGB")).float(), rtol=1e-6)
    assert [batch["step"] for batch in batches] == [0, 1, 2, 3]
