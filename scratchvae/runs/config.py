"""Every option of a training run: its meaning, its default, and what it may be.

The command line is made from this table, `config.json` is it filled in, and whoever has that file
can make the run again.
"""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from ..backend import ENGINES
from ..evaluation.scales import loss_scales
from ..models import MODELS, BernoulliVAE
from .option import checked, option
from .schedules import KL_SCHEDULES, LR_SCHEDULES

FORMAT = 1
MOST_BYTES = 1 << 20  # of a config.json
MOST = 2**31 - 1  # of any count

# Where a model's source trains it otherwise than the first line says.
RECIPE = {"epochs": 10, "batch_size": 128, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0}
RECIPES: dict[str, dict[str, Any]] = {
    "celeba": {"epochs": 5, "lr": 5e-3},
    "skip": {"batch_size": 32, "optimizer": "adamw", "weight_decay": 1e-4},
}

# An option that only some models have -> the argument of theirs that it is about.
OF_MODELS = {
    "latent_dim": "latent_dim",
    "skips": "skips",
    "latent": "latent",
    "kl_weight": "kl_weight",
    "beta": "kl_weight",
    "kl_schedule": "kl_weight",
    "free_bits": "free_bits",
}
# An option that does nothing unless another one has this value.
BELONGS_TO = {
    "momentum": ("optimizer", "sgd"),
    "lr_decay": ("lr_schedule", "exponential"),
    "kl_warmup": ("kl_schedule", "linear"),
    "kl_cycles": ("kl_schedule", "cyclical"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The options of a run. What is left out takes its default, or what suits the model.

    Raises
    ------
    ValueError
        If an option is not what it may be, or does not go with another; the message names it.
    """

    model: str = option(str, "mlp", "model to train", choices=tuple(MODELS))
    data: str = option(
        str, "mnist", "data set: mnist, fashion-mnist, glyphs, faces, celeba or images:FOLDER"
    )
    data_dir: str | None = option(str, None, "folder with its files, looked into and nowhere else")
    image_shape: tuple[int, ...] | None = option(
        tuple, None, "channels, height and width; the data set's", at_least=1, at_most=MOST
    )
    latent_dim: int | None = option(int, None, "length of a code", at_least=1, at_most=2**20)
    skips: str | None = option(
        str, None, "which skips the model skip has", choices=("all", "deep", "none")
    )
    latent: str | None = option(
        str, None, "what mu and logvar are in the model skip", choices=("scalar", "learned")
    )
    epochs: int | None = option(int, None, "passes over the data", at_least=1, at_most=MOST)
    batch_size: int | None = option(int, None, "images in a step", at_least=1, at_most=MOST)
    seed: int = option(int, 0, "random seed of the run", at_least=0, at_most=2**63 - 1)
    dtype: str = option(str, "float32", "of weights and batches", choices=("float32", "float64"))
    engine: str = option(str, "auto", "compute engine", choices=("auto", *ENGINES))
    tf32: bool = option(bool, False, "cuda: faster, rougher products of linear layers")

    optimizer: str | None = option(str, None, "optimizer", choices=("adam", "adamw", "sgd"))
    lr: float | None = option(float, None, "learning rate", above=0)
    momentum: float = option(float, 0.0, "of sgd", at_least=0, below=1)
    weight_decay: float | None = option(float, None, "weight decay", at_least=0)
    lr_schedule: str = option(str, "constant", "how the rate moves", choices=LR_SCHEDULES)
    lr_decay: float = option(float, 0.95, "exponential: factor for each epoch", above=0, at_most=1)
    lr_warmup: float = option(float, 0.0, "epochs in which the rate grows from nothing", at_least=0)
    clip_norm: float | None = option(float, None, "clip gradients to this norm", above=0)

    kl_weight: float | None = option(
        float, None, "weight of the KL term, on the scale of the model's loss", at_least=0
    )
    beta: float | None = option(
        float, None, "the same, beside -log p(x|z) of the decoder (Gaussian: sigma 1)", at_least=0
    )
    kl_schedule: str = option(str, "constant", "how the KL weight moves", choices=KL_SCHEDULES)
    kl_warmup: float = option(float, 10.0, "linear: epochs until it is there in full", at_least=0)
    kl_cycles: int = option(int, 4, "cyclical: how often it starts", at_least=1, at_most=MOST)
    free_bits: float = option(
        float, 0.0, "nats that each latent dimension may use at no cost", at_least=0
    )
    binarize: bool = option(
        bool, False, "draw black or white for every pixel, anew in each epoch (grey: probability)"
    )

    validation: float = option(
        float, 0.0, "share of the training images, the last ones, kept to validate", at_least=0,
        below=1,
    )  # fmt: skip
    patience: int | None = option(
        int, None, "stop after so many epochs without a better validation loss", at_least=1,
        at_most=MOST,
    )  # fmt: skip
    checkpoint_every: int = option(
        int, 1000, "steps between checkpoints, besides those after epochs", at_least=1, at_most=MOST
    )
    keep: int = option(int, 3, "how many of the last checkpoints stay", at_least=1, at_most=1000)
    pictures: tuple[int, ...] = option(
        tuple, (), "epochs after which pictures are drawn", at_least=1, at_most=MOST
    )

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = checked(spec.name, getattr(self, spec.name), spec.default, **spec.metadata)
            object.__setattr__(self, spec.name, value)
        recipe = RECIPE | RECIPES.get(self.model, {})
        for name, value in recipe.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        """Options that do not go with each other, or with the model."""
        if self.image_shape is not None and len(self.image_shape) != 3:
            raise ValueError(f"image_shape must be three numbers, got {self.image_shape}")
        if self.kl_weight is not None and self.beta is not None:
            raise ValueError("kl_weight and beta say the same on two scales: give one of them")
        takes = inspect.signature(MODELS[self.model]).parameters
        for name, argument in OF_MODELS.items():
            if getattr(self, name) != _default(name) and argument not in takes:
                raise ValueError(f"{name}: the model {self.model} has no {argument}")
        for name, (other, value) in BELONGS_TO.items():
            if getattr(self, name) != _default(name) and getattr(self, other) != value:
                raise ValueError(
                    f"{name} belongs to {other} {value}, and {other} is {getattr(self, other)}"
                )
        if self.binarize and not self._is_bernoulli:
            raise ValueError(
                f"binarize: the model {self.model} has a squared error, which is not about black "
                "and white"
            )
        if self.patience is not None and not self.validation:
            raise ValueError("patience needs a validation share, such as 0.1, to look at")

    @property
    def _is_bernoulli(self) -> bool:
        model: Any = MODELS[self.model]
        return issubclass(model, BernoulliVAE)

    def model_options(self) -> dict[str, Any]:
        """What `models.build` is told."""
        names = ("latent_dim", "image_shape", "skips", "latent")
        options = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        if (weight := self._full_kl_weight()) is not None:
            options["kl_weight"] = weight
        if self.free_bits:
            options["free_bits"] = self.free_bits
        return options | {"seed": self.seed, "dtype": self.dtype}

    def _full_kl_weight(self) -> float | None:
        """On the scale of the model's loss; None: the model's own."""
        if self.beta is None:
            return self.kl_weight
        if self._is_bernoulli or self.beta == 0:
            return self.beta
        if self.image_shape is None:
            raise ValueError("beta: the KL weight it means depends on the image_shape")
        return loss_scales(math.prod(self.image_shape), beta=self.beta).mean

    def to_json(self) -> dict[str, Any]:
        """Every option by name, for a JSON file."""
        return asdict(self)

    @classmethod
    def from_json(cls, options: Any) -> Config:
        """The reverse of `to_json`. ValueError for what is no such table, or names no option."""
        if not isinstance(options, dict):
            raise ValueError(f"expected a table of options, got {type(options).__name__}")
        known = [spec.name for spec in fields(cls)]
        for name in options:
            if name not in known:
                near = get_close_matches(str(name), known, 1)
                meant = f" (did you mean {near[0]}?)" if near else ""
                raise ValueError(f"there is no option {str(name)[:80]!r}{meant}")
        return cls(**options)


def read_config(text: bytes) -> tuple[Config, dict[str, Any]]:
    """The config in the bytes of a config.json, and the facts about the run that stand beside it.

    Raises
    ------
    ValueError
        If it is no JSON, too long, from another version, or not a config.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"config.json: expected at most {MOST_BYTES} bytes, got {len(text)}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config.json: not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"config.json: expected a table with format {FORMAT}")
    facts = found.get("run", {})
    if not isinstance(facts, dict):
        raise ValueError(f"config.json: expected a table in run, got {type(facts).__name__}")
    try:
        return Config.from_json(found.get("options")), facts
    except ValueError as error:
        raise ValueError(f"config.json: {error}") from None


def _default(name: str) -> Any:
    return Config.__dataclass_fields__[name].default
