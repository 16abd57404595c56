"""Pictures that were drawn once are kept on disk, and whatever goes wrong there is no error.

Three things are promised. A file is read only where everything that decides about a pixel is the
same: all of it is in the file's name. A damaged file counts as none: the pictures are drawn again
and the file is replaced. And a file appears whole or not at all, whoever else is reading.
"""

import hashlib
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

MAX_HEADER = 1 << 14  # bytes in front of an array: NumPy reads no longer ones
Arrays = dict[str, NDArray[np.uint8]]


def drawn_once(
    draw: Callable[[], Arrays],
    shapes: dict[str, tuple[int, ...]],
    collection: str,
    recipe: str,
    made_with: object = (),
    cache_dir: str | os.PathLike[str] | None = None,
) -> Arrays:
    """Take pictures from the cache, or draw them and put them there.

    Parameters
    ----------
    draw : callable
        Called without arguments if the cache does not have the pictures.
    shapes : dict of str to tuple of int
        The names and shapes of the uint8 arrays that `draw` returns.
    collection : str
        ``"glyphs"`` or ``"faces"``: the folder in the user's cache, and the files' first name.
    recipe : str
        Version, seed and counts, for the file's name.
    made_with : object
        What else decides about a pixel, too long for a name: its `repr` enters as a digest.
    cache_dir : str or path-like, optional
        Where the file is kept; by default in the user's cache folder.

    Returns
    -------
    dict of str to ndarray of uint8
        The arrays of `shapes`.
    """
    digest = hashlib.sha256(repr(made_with).encode()).hexdigest()[:12]
    folder = _default_folder(collection) if cache_dir is None else Path(cache_dir)
    path = folder / f"{collection}-{recipe}-{digest}.npz"
    arrays = _read(path, shapes)
    if arrays is None:
        arrays = draw()
        _write(path, arrays)
    return arrays


def _default_folder(collection: str) -> Path:
    import pooch  # here, for `import scratchvae` to stay fast

    try:
        return Path(pooch.os_cache("scratchvae")) / collection
    except RuntimeError:  # no home directory
        return Path(os.devnull)  # where nothing is found and nothing can be put


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> Arrays | None:
    try:
        # Opened here, since np.load forgets to close a file that turns out to be damaged.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            for field, shape in shapes.items():  # of what is compressed, a little can be a lot
                if file.zip.getinfo(f"{field}.npy").file_size > math.prod(shape) + MAX_HEADER:
                    return None
            arrays = {field: file[field] for field in shapes}
    except Exception:  # a damaged zip file can raise nearly anything, and the cure is the same
        return None
    for field, shape in shapes.items():
        if arrays[field].shape != shape or arrays[field].dtype != np.uint8:
            return None
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    """Save for the next time, or not at all: another process never sees half a file."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            # Not compressed: that would take longer than drawing.
            np.savez(file, **cast(dict[str, Any], arrays))
        os.replace(temporary, path)
        temporary = None
    except OSError:
        pass  # a full disk, a home that cannot be written: the pictures are in memory all the same
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
