"""Files are written only to the run's folder and to the cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_parts

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def world(tmp_path):
    """A home, a working folder, a cache, a folder for temporary files, and read-only data."""
    for name in ("home", "work", "cache", "temporary", "data"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)

    def noise(count):
        return rng.integers(0, 256, (count, 28, 28))

    write_parts(tmp_path / "data", rng, (40, 10), noise, suffix="")
    return tmp_path


def files(folder):
    """Every file below a folder, with its size and time."""
    found = [path for path in folder.rglob("*") if not path.is_dir()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.mark.slow
def test_a_run_writes_into_its_folder_and_the_cache_alone(world):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "SCRATCHVAE"))}
    environment |= {
        "HOME": str(world / "home"),
        "XDG_CACHE_HOME": str(world / "cache"),
        "TMPDIR": str(world / "temporary"),
        "NUMBA_CACHE_DIR": str(world / "cache/numba"),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    before = files(world)
    train = (
        "train mlp --out runs/one --epochs 2 --pictures 1 --latent-dim 2 --batch-size 8 --keep 1"
    )
    for command in (
        f"{train} --data-dir {world / 'data'}",
        "train --resume runs/one --epochs 3",
        "evaluate runs/one",
        "sample runs/one",
        "manifold runs/one",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "scratchvae", *command.split()],
            cwd=world / "work", env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    after = files(world)
    changed = [path for path in after if before.get(path) != after[path]]
    allowed = (world / "work/runs/one", world / "cache")
    assert changed and all(any(map(path.is_relative_to, allowed)) for path in changed)
    assert before.keys() <= after.keys()
