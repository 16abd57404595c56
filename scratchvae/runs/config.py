"""Every option of a training run: its meaning, default and limits.

The command line is made from this table; config.json holds the values.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import operator
import os
import reprlib
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from ..backend import ENGINES
from ..data.options import image_options
from ..evaluation.scales import loss_scales
from ..models import MODELS, BernoulliVAE
from ..output import did_you_mean, open_file
from .schedules import KL_SCHEDULES, LR_SCHEDULES

# Of config.json. Runs of format 1 were made before `split` and the image options, those of format 2
# before the identity of runs.
FORMAT = 3
MOST_BYTES = 1 << 20  # of a config.json
ABOUT = {"environment": dict, "data": dict, "changes": list}  # its table `run`
IDENTITY = ("run_id", "options_sha256", "data_sha256")  # in each file of a run; see `identities`
MOST = 2**31 - 1  # of any count

# The options about images, as `data.load` has them.
IMAGE_OPTIONS = ("image_size", "grey", "crop", "background", "value_range")

# RECIPES: the defaults of some models that differ from RECIPE, from their sources.
RECIPE = {"epochs": 10, "batch_size": 128, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0}
RECIPES: dict[str, dict[str, Any]] = {
    "celeba": {"epochs": 5, "lr": 5e-3},
    "skip": {"batch_size": 32, "optimizer": "adamw", "weight_decay": 1e-4},
}

# An option of only some models -> the argument that it sets.
OF_MODELS = {name: name for name in ("latent_dim", "skips", "latent", "kl_weight", "free_bits")}
OF_MODELS |= {"beta": "kl_weight", "kl_schedule": "kl_weight"}
# An option that has an effect only if another one has this value.
BELONGS_TO = {
    "momentum": ("optimizer", "sgd"),
    "lr_decay": ("lr_schedule", "exponential"),
    "kl_warmup": ("kl_schedule", "linear"),
    "kl_cycles": ("kl_schedule", "cyclical"),
}
KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
LIMITS = {
    "at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt
}  # fmt: skip


def option(kind: type, default: Any, help: str, **limits: Any) -> Any:
    """A field of `Config`; `limits`: `choices`, or some of LIMITS (at_most: MOST for integers)."""
    if kind in (int, tuple):
        limits = {"at_most": MOST} | limits
    return field(default=default, metadata={"kind": kind, "help": help, "limits": limits})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of a run; an omitted option has its default, or that of the model.

    Raises
    ------
    ValueError
        If an option has a wrong kind, exceeds a limit or contradicts another one; names it.
    """

    model: str = option(str, "mlp", "model to train", choices=tuple(MODELS))
    data: str = option(
        str, "mnist", "data set: a name of `scratchvae data list`, images:FOLDER or arrays:FILE"
    )
    data_dir: str | None = option(str, None, "look for its files only in this folder")
    image_size: str | None = option(
        str, None, "size of the images: 28, 64x80 (width x height) or native, the size of the files"
    )
    grey: bool = option(bool, False, "make the images grey: one channel")
    crop: str | None = option(
        str, None, "center: cut out the largest part that fits; none: stretch the whole image",
        choices=("center", "none"),
    )  # fmt: skip
    background: str | None = option(
        str, None, "colour behind transparent pixels: white, black or R,G,B"
    )
    value_range: str | None = option(
        str, None, "BLACK,WHITE: the values of black and white in the files or arrays, such as 0,1"
    )
    split: str = option(
        str, "spread", "how validation images, and test images of a folder, are chosen (tail: as "
        "in runs of format 1)", choices=("spread", "tail"),
    )  # fmt: skip
    image_shape: tuple[int, ...] | None = option(tuple, None, "shape of the images", at_least=1)
    latent_dim: int | None = option(int, None, "latent dimensions", at_least=1, at_most=2**20)
    skips: str | None = option(
        str, None, "model skip: which skips (default: all)", choices=("all", "deep", "none")
    )
    latent: str | None = option(
        str, None, "model skip: mu and logvar per image, or per dimension (default: scalar)",
        choices=("scalar", "learned"),
    )  # fmt: skip
    # __post_init__ replaces None by the values of RECIPE and RECIPES.
    epochs: int = option(int, None, "passes over the training images", at_least=1)
    batch_size: int = option(int, None, "batch size", at_least=1)
    seed: int = option(int, 0, "random seed", at_least=0, at_most=2**63 - 1)
    dtype: str = option(str, "float32", "data type", choices=("float32", "float64"))
    engine: str = option(str, "auto", "compute engine", choices=("auto", *ENGINES))
    tf32: bool = option(bool, False, "cuda: use TF32 in linear layers: faster, less precise")

    optimizer: str = option(str, None, "optimizer", choices=("adam", "adamw", "sgd"))
    lr: float = option(float, None, "learning rate", above=0)
    momentum: float = option(float, 0.0, "momentum of sgd", at_least=0, below=1)
    weight_decay: float = option(float, None, "weight decay", at_least=0)
    lr_schedule: str = option(str, "constant", "learning-rate schedule", choices=LR_SCHEDULES)
    lr_decay: float = option(float, 0.95, "exponential: factor per epoch", above=0, at_most=1)
    lr_warmup: float = option(float, 0.0, "epochs of linear learning-rate warm-up", at_least=0)
    clip_norm: float | None = option(float, None, "clip gradients to this norm", above=0)

    kl_weight: float | None = option(
        float, None, "weight of the KL term, on the scale of the model's loss", at_least=0
    )
    beta: float | None = option(
        float, None, "KL weight relative to the log-likelihood (1 = the ELBO)", at_least=0
    )
    kl_schedule: str = option(str, "constant", "KL-weight schedule", choices=KL_SCHEDULES)
    kl_warmup: float = option(float, 10.0, "linear: epochs until the full KL weight", at_least=0)
    kl_cycles: int = option(int, 4, "cyclical: number of cycles", at_least=1)
    free_bits: float = option(float, 0.0, "nats of KL per latent dimension at no cost", at_least=0)
    binarize: bool = option(
        bool, False, "draw pixels black or white in each epoch; P(white) = grey level"
    )

    validation: float = option(
        float, 0.0, "fraction of training images held out for validation", at_least=0, below=1
    )
    patience: int | None = option(
        int, None, "stop after N epochs without a better validation loss", at_least=1
    )
    checkpoint_every: int = option(
        int, 1000, "steps between checkpoints (each epoch also ends with one)", at_least=1
    )
    keep: int = option(int, 3, "number of latest checkpoints to keep", at_least=1, at_most=1000)
    pictures: tuple[int, ...] = option(tuple, (), "draw pictures after these epochs", at_least=1)

    def __post_init__(self) -> None:
        for spec in fields(self):
            value, kind = getattr(self, spec.name), spec.metadata["kind"]
            if spec.name in IMAGE_OPTIONS and kind is str:
                value = as_text(spec.name, value)
            if value is not None or spec.default is not None:
                value = checked(spec.name, value, kind, **spec.metadata["limits"])
                object.__setattr__(self, spec.name, value)
        for name, value in (RECIPE | RECIPES.get(self.model, {})).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        """ValueError for options that contradict each other, or that the model does not have."""
        image_options(**self.image_options())
        if self.image_shape is not None and len(self.image_shape) != 3:
            got = short(self.image_shape)
            raise ValueError(f"image_shape must be three numbers, got {got}")
        if self.kl_weight is not None and self.beta is not None:
            raise ValueError("kl_weight and beta set the same weight on two scales: give only one")
        changed = {spec.name for spec in fields(self) if getattr(self, spec.name) != spec.default}
        takes = inspect.signature(MODELS[self.model]).parameters
        for name, argument in OF_MODELS.items():
            if name in changed and argument not in takes:
                raise ValueError(f"{name}: the model {self.model} has no {argument}")
        for name, (other, value) in BELONGS_TO.items():
            if name in changed and getattr(self, other) != value:
                raise ValueError(
                    f"{name} applies only to {other} {value}, but {other} is {getattr(self, other)}"
                )
        if self.binarize and not self._is_bernoulli:
            raise ValueError(
                f"binarize: expected a model with a cross-entropy loss, but {self.model} has a "
                "squared error"
            )

    @property
    def _is_bernoulli(self) -> bool:
        model: Any = MODELS[self.model]
        return issubclass(model, BernoulliVAE)

    def image_options(self) -> dict[str, Any]:
        """The arguments about images for `data.load`."""
        return {name: getattr(self, name) for name in IMAGE_OPTIONS}

    def model_options(self) -> dict[str, Any]:
        """The arguments for `models.build`."""
        names = ("latent_dim", "image_shape", "skips", "latent", "seed", "dtype", "kl_weight")
        options = {name: getattr(self, name) for name in names}
        options["free_bits"] = self.free_bits or None
        if self.beta is not None:
            options["kl_weight"] = self.beta
        if self.beta and not self._is_bernoulli:
            if self.image_shape is None:
                raise ValueError("beta: the KL weight depends on the image_shape: give it, too")
            options["kl_weight"] = loss_scales(math.prod(self.image_shape), beta=self.beta).mean
        return {name: value for name, value in options.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Every option by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, options: Any) -> Config:
        """The reverse of `to_json`. ValueError if it is not a dict, or has an unknown option."""
        if not isinstance(options, dict):
            raise ValueError(f"expected a JSON object of options, got {type(options).__name__}")
        known = [spec.name for spec in fields(cls)]
        for name in options:
            if name not in known:
                raise ValueError(f"unknown option {name[:80]!r}{did_you_mean(name, known)}")
        return cls(**options)


def config_text(config: Config, about: dict[str, Any]) -> str:
    """The content of a config.json; `about` is its table `run`."""
    content = {"options": config.to_json(), "run": about}
    whole = {"format": FORMAT, **content, "sha256": digest(content)}
    return json.dumps(whole, indent=1) + "\n"


def read_config(path: str | os.PathLike[str]) -> tuple[Config, dict[str, Any]]:
    """The config in a config.json, and its `run` table (see ABOUT). ValueError if it is invalid, or
    not what a run wrote; a file of the user's needs only `format` and `options`."""
    try:
        with open_file(path, MOST_BYTES) as file:
            text = file.read()
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
        if not isinstance(found, dict) or found.get("format") not in range(1, FORMAT + 1):
            raise ValueError(f"expected a JSON object with a format from 1 to {FORMAT}")
        options, about = found.get("options"), found.get("run", {})
        if not isinstance(about, dict):
            raise ValueError(f"expected a JSON object in run, got {type(about).__name__}")
        of_a_run = found["format"] == FORMAT and ("sha256" in found or "id" in about)
        if of_a_run and found.get("sha256") != digest({"options": options, "run": about}):
            raise ValueError(
                "its content is not what the run wrote: the file was edited or is damaged. Undo "
                "that; to change options, give them to `train --config FILE`, or make a file of "
                "your own from only `format` and `options`"
            )
        for name, kind in ABOUT.items():
            if not isinstance(about.setdefault(name, kind()), kind):
                raise ValueError(f"expected a {kind.__name__} in run: {name}")
        if found["format"] == 1 and isinstance(options, dict):
            options = {"split": "tail"} | options
        return Config.from_json(options), about
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def digest(content: Any) -> str:
    """SHA-256 of a JSON value; "" if it is nested too deeply."""
    try:
        text = json.dumps(content, sort_keys=True)
    except RecursionError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def identities(config: Config, about: dict[str, Any]) -> list[dict[str, str]]:
    """What a file of a run may say of its origin: the run's id, and digests of the options and of
    the data, as they are now or were before one of the run's changes, the present ones first. One
    empty identity for a run of format 1 or 2."""
    if "id" not in about:
        return [{}]
    options, data, found = config.to_json(), about.get("data", {}).get("sha256"), []
    changes = about.get("changes", [])
    for done in range(len(changes), -1, -1):
        # Options at their defaults do not count: a later version may have more of them. The changes
        # do, with their steps: two copies of a run may end with the same options.
        given = {s.name: v for s in fields(Config) if (v := options[s.name]) != s.default}
        identity = about["id"], digest([given, changes[:done]]), str(data)
        found.append(dict(zip(IDENTITY, identity, strict=True)))
        for name, values in changes[done - 1].items() if done else ():
            if name == "data_sha256":
                data = values[0]
            elif name in options:
                options[name] = values[0]
    return found


def check_identity(path: object, found: dict[str, Any], known: list[dict[str, str]]) -> None:
    """ValueError if a file of a run says in `found` that it is not of this one, whose `identities`
    are `known`."""
    said = {name: found[name] for name in IDENTITY if name in found}
    if said in known:
        return
    if said.get("run_id") != known[0].get("run_id"):
        why = "belongs to another run" if said else "does not say that it belongs to this run"
    elif all(said["options_sha256"] != one["options_sha256"] for one in known):
        why = "was written with other options than those in config.json"
    else:
        why = "was trained on other data than config.json says"
    raise ValueError(f"{path} {why}: put the run's own file back")


def checked(name: str, value: Any, kind: Any, **limits: Any) -> Any:
    """The value as this kind, within LIMITS and among `choices`; otherwise ValueError.

    Whole numbers are converted to floats, lists to tuples (of whole numbers), NumPy numbers to
    Python's, paths to text. NaN and infinities are refused.
    """
    if kind is tuple:
        if not isinstance(value, tuple | list) or len(value) > 1000:
            raise ValueError(f"{name} must be a list of whole numbers, got {short(value)}")
        return tuple(checked(name, number, int, **limits) for number in value)
    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind is float and type(value) is int and abs(value) <= 2**53:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{name} must be {KINDS[kind]}, got {short(value)}")
    for word, limit in limits.items():
        if word == "choices":
            if value not in limit:
                raise ValueError(f"{name} must be one of {', '.join(limit)}; got {short(value)}")
        elif not LIMITS[word](value, limit):
            raise ValueError(f"{name} must be {word.replace('_', ' ')} {limit}, got {short(value)}")
    return value


def as_text(name: str, value: Any) -> Any:
    """An image option as on the command line: 28 -> "28", (80, 64) -> "64x80", (0, 1) -> "0,1"."""
    size = name == "image_size"
    if size and fits(value, int):
        return str(value)
    if isinstance(value, tuple | list) and all(fits(number, float) for number in value):
        return "x".join(map(str, reversed(value))) if size else ",".join(map(str, value))
    return value


def fits(value: Any, kind: type, **limits: Any) -> bool:
    """Whether `checked` accepts this value."""
    try:
        checked("", value, kind, **limits)
    except ValueError:
        return False
    return True


def short(value: Any) -> str:
    """A value for an error message, shortened if it is long or deeply nested."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to print numbers of thousands of digits
        return "a huge number"
