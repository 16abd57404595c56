"""Shared fixtures: a tiny data set in MNIST's files, and an empty cache folder."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes

from scratchvae.data.sources import FILES

WriteMnist = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(name="idx_bytes", scope="session")
def _idx_bytes() -> Callable[[np.ndarray], bytes]:
    return idx_bytes


@pytest.fixture
def write_mnist() -> WriteMnist:
    """Return a function that writes a tiny data set and returns its arrays.

    `files` renames the file of a field, or leaves it out (None); `arrays` replaces its content.
    """

    def write(folder, files=None, seed=0, **arrays):
        rng = np.random.default_rng(seed)
        content = {
            "train_images": rng.integers(0, 256, (7, 28, 28), dtype=np.uint8),
            "train_labels": np.arange(7, dtype=np.uint8),
            "test_images": rng.integers(0, 256, (3, 28, 28), dtype=np.uint8),
            "test_labels": np.array([9, 0, 5], np.uint8),
        } | arrays
        folder.mkdir(parents=True, exist_ok=True)
        for field, name in (FILES | (files or {})).items():
            if name is not None:
                data = idx_bytes(content[field])
                compressed = gzip.compress(data, mtime=0) if name.endswith(".gz") else data
                (folder / name).write_bytes(compressed)
        return content

    return write


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache folder that replaces the user's; no $SCRATCHVAE_DATA, no proxy."""
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("SCRATCHVAE_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache" / "scratchvae"
