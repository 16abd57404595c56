"""Checkpoints with a correct digest, whose content may still be invalid."""

import json
from functools import cache
from types import SimpleNamespace

import mutating
import numpy as np
from fuzz_weights import TwoLayers

from scratchvae.runs.checkpoint import read_checkpoint, to_bytes
from scratchvae.runs.trainer import Trainer

MEGABYTES = 200
ODD = (*(*mutating.ODD, 2**127, 2**128, [0.0] * 3, [0.0] * 4, [None] * 3, [{}], {"shuffle": {}}),)


class TwoLayersInTraining(Trainer):
    """A Trainer of a few kilobytes, with everything that `checkpoint` and `restore` use."""

    def __init__(self):
        self.model = TwoLayers()
        self.model.dtype, self.model.device = np.dtype("float32"), "cpu"
        self.optimizer = SimpleNamespace(m=np.ones(15, "f"), v=np.ones(15, "f"), steps=7)
        self.config = SimpleNamespace(batch_size=4, clip_norm=None)
        self.train_count = 18
        self.steps_per_epoch = 5
        self._rngs = {
            n: np.random.default_rng(i) for i, n in enumerate(("shuffle", "binarize", "noise"))
        }
        self.held_out, self._next_rngs = "test", self._rngs
        line = dict.fromkeys(self._columns(), 1.5)
        self.epoch, self.batch, self.history = 1, 2, [line]
        self.best_epoch, self.best_score = 1, 2.5
        self._stepper = SimpleNamespace(sums=[3.0, 2.0, 1.0, 8])


@cache
def seeds():
    return [to_bytes(*TwoLayersInTraining().checkpoint())]


def build(random):
    """Edited tensors and progress, with a matching digest."""
    arrays, progress = TwoLayersInTraining().checkpoint()
    progress = json.loads(json.dumps(progress))
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        if random.random() < 0.7:
            mutating.edit(progress, random, ODD)
        else:
            edit_a_tensor(arrays, random)
    try:
        content = to_bytes(arrays, progress)
    except (ValueError, UnicodeEncodeError):  # NaN, which the writer rejects
        content = seeds()[0]
    return mutating.mutated(content, random, seeds()) if random.random() < 0.2 else content


def edit_a_tensor(arrays, random):
    name = random.choice([*arrays])
    a = arrays[name]
    arrays[name] = random.choice(
        (
            *(
                a.astype("f8"),
                np.ones(a.shape, "f2"),
                np.zeros(a.shape, "u1"),
                np.full_like(a, 200),
            ),
            *(a.reshape(-1), a.reshape(1, *a.shape), a.reshape(-1)[:-1], np.zeros((0,), a.dtype)),
            (a * np.float32("nan")).astype(a.dtype) if a.dtype.kind == "f" else a,
        )
    )
    if random.random() < 0.2:
        names = ("model.", "optimizer.", "optimizer.m", "model.x", "facts.json", "", "m")
        arrays[random.choice(names)] = arrays.pop(name)


def parser(folder):
    """A function of a file: True if a trainer continues from it, False if it is rejected with a
    message and the trainer is unchanged."""

    def read(path):
        trainer = TwoLayersInTraining()
        before = to_bytes(*trainer.checkpoint())
        try:
            with np.errstate(all="ignore"):
                trainer.restore(*read_checkpoint(path))
        except ValueError:
            assert to_bytes(*trainer.checkpoint()) == before
            return False
        rng = trainer._rngs["shuffle"]
        assert sorted(rng.permutation(18)) == [*range(18)]
        assert 0 <= trainer.batch <= 5 and trainer.step == 5 * trainer.epoch + trainer.batch
        return True

    return read
