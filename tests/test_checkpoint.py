import os

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors import safe_open

import scratchvae as sv
from scratchvae.checkpoint import load_weights, save_weights, write_atomically


def test_weights_go_round(tmp_path):
    path = tmp_path / "weights.safetensors"
    a, b = sv.models.build("conv", seed=0), sv.models.build("conv", seed=1)
    save_weights(a, path, model="conv", latent_dim=20)
    load_weights(b, path)
    assert_array_equal(a.flat_value, b.flat_value)
    with safe_open(path, "np") as file:
        assert file.metadata() == {"model": "conv", "latent_dim": "20"}
        assert set(file.keys()) == set(a.parameters())


def test_misfits_are_listed_and_nothing_is_loaded(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(sv.models.build("mlp"), path)
    model = sv.models.build("mlp", latent_dim=3)
    before = model.flat_value.copy()
    with pytest.raises(
        ValueError, match=r"weights.safetensors does not fit: .*fc_mu.weight has shape"
    ):
        load_weights(model, path)
    assert_array_equal(model.flat_value, before)


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="load_weights: .* is not a safetensors file"):
        load_weights(sv.models.build("mlp"), path)
    with pytest.raises(FileNotFoundError):
        load_weights(sv.models.build("mlp"), tmp_path / "none")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_weights_of_a_noncontiguous_view_are_right(tmp_path):
    """safetensors writes raw memory: a transposed array must be laid out first."""
    path = tmp_path / "w"
    model = sv.models.build("mlp")
    model.fc1.weight = np.arange(model.fc1.weight.value.size).reshape(784, 400).T
    save_weights(model, path)
    other = sv.models.build("mlp", seed=9)
    load_weights(other, path)
    assert_array_equal(other.fc1.weight.value, model.fc1.weight.value)


def test_a_header_takes_any_text(tmp_path):
    """The name of a folder may be no UTF-8: Python keeps such bytes as lone surrogates."""
    path = tmp_path / "weights.safetensors"
    save_weights(sv.models.build("tiny"), path, data_dir=os.fsdecode(b"photos\xff"))
    with safe_open(path, "np") as file:
        assert file.metadata() == {"data_dir": "photos\\udcff"}


def test_weights_of_other_skips_are_refused(tmp_path):
    """They fit in shape, and would draw other pictures."""
    path = tmp_path / "weights.safetensors"
    options = {"image_shape": (1, 64, 64)}
    save_weights(sv.models.build("skip", skips="all", **options), path, model="skip", skips="all")
    load_weights(sv.models.build("skip", skips="all", **options), path)
    with pytest.raises(ValueError, match="does not fit: it is of skips all, here is deep"):
        load_weights(sv.models.build("skip", skips="deep", **options), path)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(sv.models.build("mlp"), path, model="conv")
    with pytest.raises(ValueError, match="it is of model conv, here is mlp"):
        load_weights(sv.models.build("mlp"), path)
