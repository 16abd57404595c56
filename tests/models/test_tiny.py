import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv


def test_images_may_come_without_their_channel_axis():
    model = sv.models.build("tiny", dtype="float64")
    rng = np.random.default_rng(0)
    x, eps = rng.random((3, 28, 28)), model.noise(3, rng)
    for images in (x, x[:, None]):
        assert model.forward(images, eps)[0].shape == images.shape
        assert model.reconstruct(images).shape == images.shape
    assert_array_equal(model.embed(x), model.embed(x[:, None]))
    assert_array_equal(model.reconstruct(x), model.reconstruct(x[:, None])[:, 0])
    gradients = []
    for images in (x, x[:, None]):
        model.zero_grad()
        losses = model.loss(images, eps)
        model.backward()
        gradients.append((losses, model.flat_grad.copy()))
    assert gradients[0][0] == gradients[1][0]
    assert_array_equal(gradients[0][1], gradients[1][1])


def test_it_says_which_shapes_it_takes():
    model = sv.models.build("tiny")
    with pytest.raises(
        ValueError, match=r"x must have shape \(N, 1, 28, 28\) or \(N, 28, 28\) with"
    ):
        model.loss(np.zeros((2, 14, 14), "float32"), model.noise(2, np.random.default_rng(0)))
