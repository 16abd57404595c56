import gzip
import io
import json
import math
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hostile import bounded, pipe, sparse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors import safe_open
from safetensors.numpy import save_file

import scratchvae as sv
from scratchvae.models.weights import MAX_BYTES, MAX_HEADER, load_weights, save_weights


def test_weights_go_round(tmp_path):
    path = tmp_path / "weights.safetensors"
    a, b = sv.models.build("conv", seed=0), sv.models.build("conv", seed=1)
    save_weights(a, path, model="conv", latent_dim=20)
    load_weights(b, path)
    assert_array_equal(a.flat_value, b.flat_value)
    with safe_open(path, "np") as file:
        assert {"model": "conv", "latent_dim": "20"}.items() < file.metadata().items()
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


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])  # 0 stands for a zip archive
def test_a_file_of_pytorch_is_named_with_the_lines_that_convert_it(tmp_path, protocol):
    """Since PyTorch 1.6 torch.save writes a zip archive, before that a pickle."""
    path = tmp_path / "b.pt"
    if protocol:
        path.write_bytes(pickle.dumps([0x1950A86A20F9469CFC6C, 1001], protocol) + bytes(20))
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("b/version", "3")
            file.writestr("b/data.pkl", pickle.dumps({}, 2))
    with pytest.raises(ValueError, match="it looks like a PyTorch file; .* two lines") as error:
        load_weights(sv.models.build("mlp"), path)
    first, second = str(error.value).split("`")[1::2]
    compile(first, "", "exec")
    compile(second, "", "exec")
    assert f"torch.load({str(path)!r}, map_location='cpu'" in second and "\n" not in first + second


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return file.getvalue()


def saved(save, *arrays, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


OTHER = "it begins like a file of another kind"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (saved(np.savez, a=np.ones(3)), "it is a NumPy file"),
        (saved(np.savez_compressed, np.ones(3), np.ones(4)), "it is a NumPy file"),
        (saved(np.savez, **{"b/data.pkl": np.ones(3)}), "it is a NumPy file"),
        (saved(np.save, np.ones(3)), OTHER),
        (zipped("word/document.xml", "notdata.pkl"), OTHER),
        (pickle.dumps({"a": [1, 2]}, 0), OTHER),
        (b"PK is how this text begins, which is no archive", OTHER),
        (gzip.compress(b"text", mtime=1_700_000_000), OTHER),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), OTHER),
        (b"weights: none", OTHER),
    ],
    ids=lambda value: repr(value[:8]) if isinstance(value, bytes) else "",
)
def test_a_file_of_another_kind_is_no_file_of_pytorch(tmp_path, content, kind):
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_weights(sv.models.build("tiny"), path)
    assert str(error.value) == f"load_weights: {path} is not a safetensors file ({kind})"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.vae."])
def test_a_prefix_of_every_name_is_one_sentence(tmp_path, prefix):
    model = sv.models.build("mlp")
    state = {f"{prefix}{name}": a for name, a in model.state_dict().items()}
    save_file(state, tmp_path / "w")
    with pytest.raises(ValueError, match=f"every name begins with '{prefix}'") as error:
        load_weights(model, tmp_path / "w")
    assert len(str(error.value)) < 350 + len(str(tmp_path))
    model.load_state_dict({name.removeprefix(prefix): a for name, a in state.items()})


def test_weights_of_a_noncontiguous_view_are_right(tmp_path):
    """safetensors writes raw memory, so a transposed array must be copied first."""
    path = tmp_path / "w"
    model = sv.models.build("mlp")
    model.fc1.weight = np.arange(model.fc1.weight.value.size).reshape(784, 400).T
    save_weights(model, path)
    other = sv.models.build("mlp", seed=9)
    load_weights(other, path)
    assert_array_equal(other.fc1.weight.value, model.fc1.weight.value)


def test_a_header_takes_any_text(tmp_path):
    """The name of a folder may not be UTF-8: Python keeps such bytes as lone surrogates."""
    path = tmp_path / "weights.safetensors"
    save_weights(sv.models.build("tiny"), path, data_dir=os.fsdecode(b"photos\xff"))
    with safe_open(path, "np") as file:
        assert file.metadata()["data_dir"] == "photos\\udcff"


def test_weights_of_other_skips_are_refused(tmp_path):
    """They have the same shapes, but would give other pictures."""
    path = tmp_path / "weights.safetensors"
    options = {"image_shape": (1, 64, 64)}
    save_weights(sv.models.build("skip", skips="all", **options), path, model="skip", skips="all")
    load_weights(sv.models.build("skip", skips="all", **options), path)
    with pytest.raises(
        ValueError, match="does not fit: it was saved from skips all, this is skips deep"
    ):
        load_weights(sv.models.build("skip", skips="deep", **options), path)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(sv.models.build("mlp"), path, model="conv")
    with pytest.raises(ValueError, match="it was saved from model conv, this is model mlp"):
        load_weights(sv.models.build("mlp"), path)


def whole(header, data=b"", length=None):
    """A safetensors file with this header, a dict or text, and this length before it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_what_is_no_file_or_too_large_is_refused_unread(tmp_path):
    files = {
        "not a file": pipe(tmp_path / "pipe"),
        f"at most {MAX_BYTES} bytes": sparse(tmp_path / "huge", 1 << 40, whole({})),
        f"a header of at most {MAX_HEADER} bytes": sparse(
            tmp_path / "header", 90_000_000, whole(b"{", length=80_000_000)
        ),
    }
    model = sv.models.build("tiny")
    for message, path in files.items():
        with bounded(), pytest.raises(ValueError, match=f"load_weights: {path} is not .*{message}"):
            load_weights(model, path)
    with pytest.raises(ValueError, match="not a file"):
        load_weights(model, tmp_path)


def test_a_shape_that_numpy_has_not_is_the_files_fault(tmp_path):
    path = tmp_path / "weights"
    entry = {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}
    path.write_bytes(whole({"fc1.weight": entry}, bytes(4)))
    with pytest.raises(ValueError, match=f"load_weights: {path} is not a safetensors file .*65"):
        load_weights(sv.models.build("tiny"), path)


WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1, "BOOL": 1, "C64": 8, "F8_E4M3": 1}
SHAPES = st.lists(st.integers(0, 3), max_size=3) | st.sampled_from([[1] * 65, [0, 2**62, 2]])
NAMES = st.sampled_from(["weight", "bias", "__metadata__", ""]) | st.text(max_size=5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
RIGHT = {
    "weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "bias": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
}


@st.composite
def headers(draw):
    """A valid header with arrays one after the other, sometimes with other entries among them."""
    header, end = {}, 0
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        dtype, shape = draw(st.sampled_from([*WIDTHS])), draw(SHAPES)
        start, end = end, end + WIDTHS[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        strangers = st.dictionaries(st.sampled_from([*header[name]]), ANYTHING, max_size=1)
        header[name] |= draw(st.just({}) | strangers)
    return header | draw(st.just({}) | st.dictionaries(NAMES, ANYTHING, max_size=1)), end


@settings(max_examples=150)
@example((RIGHT, 24))
@example((RIGHT | {"__metadata__": {"a": "b"}}, 24))
@given(headers())
def test_any_header_is_loaded_or_refused_and_then_nothing_has_changed(tmp_path, header_and_size):
    path = tmp_path / "weights"
    path.write_bytes(whole(header_and_size[0], bytes(header_and_size[1])))
    layer = sv.layers.Linear(2, 2, rng=np.random.default_rng(0))
    before = layer.state_dict()
    try:
        load_weights(layer, path)
    except ValueError as error:
        assert str(error).startswith(f"load_weights: {path} ")
        for name, array in layer.state_dict().items():
            assert_array_equal(array, before[name])
    else:
        assert all((array == 0).all() for array in layer.state_dict().values())
