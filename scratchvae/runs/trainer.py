"""Training as something that can stop between any two steps, and go on elsewhere.

A `Trainer` holds all that the next step depends on, and nothing else does:

    weights, BatchNorm statistics    the model's
    running averages, step count     the optimizer's
    random states                    of shuffling, of black and white, of the noise
    epoch, batch                     where in the data
    sums of the losses, history      for the means to come out the same

`state` writes it down, `restore` takes it up, and the step after is the same to the last bit. What
is drawn once for an epoch (its order, its black and white, on the GPU the seed of its noise) comes
from copies of the generators, which take the originals' place when the epoch is done: so a position
in the epoch needs no more than the number of batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from typing import Any

import numpy as np

from .. import optim
from ..data import Dataset, batches, binarize
from ..models import Model, build
from ..models.weights import MAX_BYTES
from ..train import check_last_batch, evaluate_sampled, stepper_for, streams
from .config import Config
from .images import images_of
from .schedules import kl_factor, lr_factor
from .state import Resumable

OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}


class Trainer(Resumable):
    """A model in training: its data, its optimizer, and how far it has come.

        for _ in trainer.steps(): ...       to the end of the epoch, or break, and save the state
        trainer.end_epoch()

    Parameters
    ----------
    config : Config
        With the engine that is in use.
    data : Dataset

    Raises
    ------
    ValueError
        If the model does not fit the data, or the validation share leaves nothing.
    """

    def __init__(self, config: Config, data: Dataset) -> None:
        self.config = config
        try:
            self.model = build(config.model, **config.model_options())
        except ValueError as problem:
            raise ValueError(
                f"{problem} (these are the images of {data.name}: see --data)"
            ) from None
        self.train_images, self.held_out_images, self.test_images, self.held_out = images_of(
            config, data
        )
        if (1, *self.train_images.shape[1:])[-3:] != self.model.image_shape:
            raise ValueError(
                f"the model {config.model} takes images of shape {self.model.image_shape}, those "
                f"of {data.name} have {self.train_images.shape[1:]}"
            )
        room = MAX_BYTES - (1 << 24)  # for names and the history
        if (size := 3 * self.model.flat_value.nbytes) > room:  # weights and two averages
            raise ValueError(
                f"the model {config.model} has {size // 3:,} bytes of weights; with the averages "
                f"of the optimizer a checkpoint may have {room:,}"
            )
        check_last_batch("batch_size", self.model, len(self.train_images), self._batch_size)
        if config.engine == "cuda":
            self.model.to("cuda")
        self.optimizer = _optimizer(config, self.model)
        self._stepper = stepper_for(self.model, self.optimizer, config.clip_norm)
        self.full_kl_weight = getattr(self.model, "kl_weight", 0.0)
        rngs = streams(config.seed)
        self.picture_rng, self._test_rng = rngs.pictures, rngs.test
        self._rngs = {"shuffle": rngs.shuffle, "binarize": rngs.binarize, "noise": rngs.noise}
        self._next_rngs: dict[str, np.random.Generator] | None = None  # once an epoch has begun
        self.epoch = self.batch = 0  # epochs done, and batches of the one after
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best_score = 0, math.inf

    # ------------------------------------------------------------------ training

    @property
    def done(self) -> bool:
        """Whether all epochs are, or patience has come to its end. An epoch that has begun is
        finished first."""
        epochs, patience = self.config.epochs, self.config.patience
        assert epochs is not None
        waited = self.epoch - self.best_epoch
        too_long = patience is not None and waited >= patience
        return self.batch == 0 and (self.epoch >= epochs or too_long)

    @property
    def is_best(self) -> bool:
        """Whether no epoch before the last one had a better loss on what is held out."""
        return self.best_epoch == self.epoch > 0

    def steps(self) -> Iterator[None]:
        """The rest of this epoch: a step each time the iterator moves.

        Raises
        ------
        FloatingPointError
            If a loss is not finite; names the step and, on the CPU, the first tensor that went bad.
        """
        for x in self._stepper.prefetch(islice(self._begin(), self.batch, None)):
            self._set_rates(self.step)
            self._stepper.step(x)
            self.batch += 1
            yield

    def end_epoch(self) -> dict[str, float]:
        """After the last step: evaluate, and note how it went. Returns the line of the history.

        Raises
        ------
        FloatingPointError
            If a loss is not finite.
        RuntimeError
            If there are steps left in this epoch.
        """
        if self.batch != self.steps_per_epoch:
            raise RuntimeError(
                f"end_epoch: after {self.batch} of {self.steps_per_epoch} steps; run steps() first"
            )
        if self._next_rngs is None:  # restored after the last step
            self._begin()
        assert self._next_rngs is not None
        self._set_rates(self.step - 1)  # those of the last step: a restored model knows none
        self._arrays()  # what is not finite has a name here, and none after the evaluation
        *sums, images = self._stepper.sums
        train = [total / images for total in sums]
        held_out = evaluate_sampled(self.model, self.held_out_images, deepcopy(self._test_rng))
        rates = [float(self.optimizer.lr), float(getattr(self.model, "kl_weight", 0.0))]
        line = dict(zip(self._columns(), [*train, *held_out, *rates], strict=False))
        for name, number in line.items():
            if not math.isfinite(number):
                raise FloatingPointError(f"{name} of epoch {self.epoch + 1} is {number}")
        self.history.append(line)
        self.epoch, self.batch = self.epoch + 1, 0
        self._rngs, self._next_rngs = self._next_rngs, None
        self._stepper.sums = [0.0] * 4
        score = held_out.reconstruction + self.full_kl_weight * held_out.kl
        if score < self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
        return line

    def _begin(self) -> Iterator[np.ndarray]:
        """The batches of this epoch, all of them; and the generators for the one after."""
        rngs = deepcopy(self._rngs)
        if self.model.device == "cpu":  # each step draws from it; on the GPU it gives a seed
            rngs["noise"] = self._rngs["noise"]
        self._stepper.start_epoch(rngs["noise"])
        self._next_rngs = rngs
        images, model = self.train_images, self.model
        if self.config.binarize:
            images = binarize(images, rngs["binarize"])
        return batches(images, self._batch_size, rngs["shuffle"], model.data_range, model.dtype)

    def _set_rates(self, step: int) -> None:
        """Learning rate and KL weight as they are in this step."""
        config, epochs = self.config, self.config.epochs
        assert epochs is not None and config.lr is not None
        now = step, self.steps_per_epoch, epochs
        self.optimizer.lr = config.lr * lr_factor(
            config.lr_schedule, *now, config.lr_decay, config.lr_warmup
        )
        if hasattr(self.model, "kl_weight"):
            self.model.kl_weight = self.full_kl_weight * kl_factor(
                config.kl_schedule, *now, config.kl_warmup, config.kl_cycles
            )


def _optimizer(config: Config, model: Model) -> optim.Optimizer:
    assert config.optimizer is not None
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        options["momentum"] = config.momentum
    return OPTIMIZERS[config.optimizer](model, **options)
