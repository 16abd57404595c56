import numpy as np
import pytest
from PIL import Image

import scratchvae as sv
from scratchvae import plots


def pixels(path):
    return np.asarray(Image.open(path))


def test_image_grid_places_every_image(tmp_path):
    levels = np.array([0, 0.2, 0.4, 0.6, 1.0])
    images = np.broadcast_to(levels[:, None, None, None], (5, 1, 4, 6))
    plots.image_grid(images, tmp_path / "grid.png", columns=3, zoom=2, gap=1)
    sheet = pixels(tmp_path / "grid.png")
    assert sheet.shape == (2 * (2 * 5 + 1), 2 * (3 * 7 + 1))
    centres = [sheet[2 * (1 + 5 * r + 2), 2 * (1 + 7 * c + 3)] for r in (0, 1) for c in range(3)]
    assert centres == [0, 51, 102, 153, 255, 64]  # the last place stays empty


def test_image_grid_takes_colour_and_other_ranges(tmp_path):
    images = np.stack([np.full((4, 4), v) for v in (-1.0, 0.0, 2.0)])[None]
    plots.image_grid(images, tmp_path / "grid.png", columns=1, data_range=(-1, 1), zoom=1, gap=0)
    assert pixels(tmp_path / "grid.png")[0, 0].tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match="image_grid: images must have 1 or 3 channels"):
        plots.image_grid(np.zeros((1, 2, 4, 4)), tmp_path / "no.png", columns=1)


@pytest.mark.parametrize("name", ["mlp", "conv", "ae"])
def test_pictures_of_a_model(tmp_path, name):
    model = sv.models.build(name, latent_dim=2)
    x = np.random.default_rng(0).random((4, 1, 28, 28), dtype="float32")
    plots.reconstructions(model, x, tmp_path / "reconstructions.png")
    plots.interpolation(model, x, tmp_path / "interpolation.png", steps=5)
    plots.manifold(model, tmp_path / "manifold.png", size=4)
    assert pixels(tmp_path / "reconstructions.png").shape == (3 * 59, 3 * (4 * 29 + 1))
    assert pixels(tmp_path / "interpolation.png").shape == (3 * 59, 3 * (5 * 29 + 1))
    assert pixels(tmp_path / "manifold.png").shape == (4 * 56, 4 * 56)
    top = pixels(tmp_path / "reconstructions.png")[3:87:3, 3:87:3]
    assert np.abs(top - 255 * x[0, 0]).max() <= 0.51


def test_interpolation_ends_at_the_reconstructions(tmp_path):
    model = sv.models.build("mlp", seed=0)
    x = np.random.default_rng(0).random((2, 1, 28, 28), dtype="float32")
    plots.interpolation(model, x, tmp_path / "interpolation.png", steps=3)
    sheet = pixels(tmp_path / "interpolation.png")[3:87:3, ::3]
    ends = plots.to_uint8(model.reconstruct(x), (0, 1))[:, 0].astype(int)
    assert np.abs(sheet[:, 1:29] - ends[0]).max() <= 1
    assert np.abs(sheet[:, 59:87] - ends[1]).max() <= 1


def test_manifold_needs_two_dimensions(tmp_path):
    with pytest.raises(ValueError, match=r"manifold: latent_shape must be \(2,\), got \(20,\)"):
        plots.manifold(sv.models.build("mlp"), tmp_path / "no.png")


def test_rows_with_labels(tmp_path):
    grey, colour = np.full((3, 3, 8, 8), 0.5), np.zeros((3, 3, 8, 8))
    colour[:, 0] = 1
    plots.image_table([grey, colour], tmp_path / "rows.png", ["grey", "red"])
    sheet = pixels(tmp_path / "rows.png")[..., :3]
    shown = {tuple(colour) for colour in sheet.reshape(-1, 3).tolist()}
    assert {(128, 128, 128), (255, 0, 0), (255, 255, 255), (0, 0, 0)} <= shown
    side = 16 * 9  # each pixel 16 x 16, and a gap of one pixel
    assert sheet.shape[0] > 2 * side + 16 and sheet.shape[1] > 3 * side + 16
    with pytest.raises(ValueError, match="the same shape"):
        plots.image_table([grey, grey[:2]], tmp_path / "no.png", ["a", "b"])


def test_loss_curves(tmp_path):
    history = [
        {
            f"{s}_{p}": 100.0 / e
            for s in ("train", "test")
            for p in ("total", "reconstruction", "kl")
        }
        for e in (1, 2, 3)
    ]
    plots.loss_curves(history, tmp_path / "loss.png")
    assert pixels(tmp_path / "loss.png").shape[:2] == (384, 1200)
