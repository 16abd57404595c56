"""Before the first step: the engine, the data, and whether they are the ones of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backend import use
from ..data import Dataset, load
from .config import Config

FOLDER = "images:"  # of data sets that are one


def prepared_for(config: Config) -> tuple[Config, Dataset]:
    """The engine chosen, the data loaded, and a config that knows both."""
    engine = use(config.engine, tf32=config.tf32)
    data = load(config.data, config.data_dir)
    shape = data.train_images.shape[1:]
    shape = shape if len(shape) == 3 else (1, *shape)
    if config.image_shape not in (None, shape):
        raise ValueError(f"image_shape is {config.image_shape}, but {data.name} has {shape}")
    places: dict[str, Any] = {"data_dir": _from_anywhere(config.data_dir), "data": config.data}
    if config.data.startswith(FOLDER):
        places["data"] = FOLDER + str(_from_anywhere(config.data.removeprefix(FOLDER)))
    return replace(config, engine=engine, image_shape=shape, **places), data


def _from_anywhere(path: str | None) -> str | None:
    """A path that will mean the same when the run goes on, in whatever folder that is."""
    return path and str(Path(path).expanduser().absolute())


def about_data(data: Dataset) -> dict[str, Any]:
    """What config.json remembers of a data set: name, hash and counts."""
    counts = {"train_images": len(data.train_images), "test_images": len(data.test_images)}
    return {"name": data.name, "sha256": data.digest(), **counts}


def same_data(before: Any, now: dict[str, Any]) -> bool:
    """Whether it is the same data set, under whatever name."""
    return all(table(before).get(name) == now[name] for name in now if name != "name")


def data_in_words(about: Any) -> str:
    """The same, for people."""
    about = table(about)
    return (
        f"{about.get('name')} with {about.get('train_images')} and {about.get('test_images')} "
        f"images (SHA-256 {str(about.get('sha256'))[:12]}...)"
    )


def table(found: Any) -> dict[str, Any]:
    """What was read from a file, if it is a table; else an empty one."""
    return found if isinstance(found, dict) else {}
