"""Shared by the tests of training runs: small data, trainers, stopping and resuming."""

from hashlib import sha256

import numpy as np

import scratchvae as sv
from scratchvae.data import Dataset
from scratchvae.runs.checkpoint import read_checkpoint, to_bytes
from scratchvae.runs.config import Config
from scratchvae.runs.trainer import Trainer


def small_data(shape=(4, 4), train=11, test=5, seed=0):
    rng = np.random.default_rng(seed)
    return Dataset("small", *(rng.integers(0, 256, (n, *shape), "uint8") for n in (train, test)))


def small_config(model="mlp", **options):
    """Three steps per epoch, the last one on 3 of 11 images; 3 epochs."""
    shape = {"celeba": (3, 32, 32), "tiny": (1, 28, 28)}.get(model, (1, 4, 4))
    defaults = {"epochs": 3, "batch_size": 4, "image_shape": shape, "engine": "numpy"}
    return Config(model=model, **(defaults | options))


def finish(trainer):
    while not trainer.done:
        for _ in trainer.steps():
            pass
        trainer.end_epoch()
    return trainer


def train_with_stops(config, data, stops, path):
    """Save the run after each of these steps; each time a new trainer continues it."""
    trainer, stops = Trainer(config, data), sorted({*stops})
    while not trainer.done:
        for _ in trainer.steps():
            if trainer.step in stops:
                break
        if trainer.step in stops:
            stops.remove(trainer.step)
            trainer = through_a_file(trainer, Trainer(config, data), path)
        if trainer.batch == trainer.steps_per_epoch:
            trainer.end_epoch()
            if trainer.step + 0.5 in stops:  # after the evaluation
                trainer = through_a_file(trainer, Trainer(config, data), path)
    return trainer


def through_a_file(trainer, other, path):
    path.write_bytes(to_bytes(*trainer.checkpoint()))
    other.restore(*read_checkpoint(path))
    return other


def everything(trainer):
    """The content of a checkpoint as short digests of its parts, to compare with ==."""
    arrays, progress = trainer.checkpoint()
    contents = {n: repr((a.dtype, a.shape)).encode() + a.tobytes() for n, a in arrays.items()}
    contents |= {name: repr(value).encode() for name, value in progress.items()}
    return {name: sha256(content).hexdigest()[:12] for name, content in contents.items()}


def weights(trainer):
    return sv.asnumpy(trainer.model.flat_value).copy()
