"""Random words and normal numbers: a thread per four words of Philox."""

from . import blocks_for, launch, launch_each, on_device


def fill_words(out, seed, step):
    launch_each("fill_words", len(out), out, on_device(seed, "int64"), on_device(step, "int64"))


def fill_normal(out, seed, step):
    seed, step = on_device(seed, "int64"), on_device(step, "int64")
    launch("fill_normal", blocks_for(-(-out.nbytes // 16)), out, seed, step, out.size)
