"""Fixtures for tests of the CPU kernels: the number of cores, and the content of new memory."""

import pkgutil
from importlib import import_module

import pytest

from scratchvae.kernels import cpu
from scratchvae.kernels.cpu.runtime import memory, threads


def _replace(monkeypatch, name, function):
    """Replace the function in every kernel module that has it."""
    for file in pkgutil.walk_packages(cpu.__path__, f"{cpu.__name__}."):
        module = import_module(file.name)
        if hasattr(module, name):
            monkeypatch.setattr(module, name, function)


@pytest.fixture
def three_cores(monkeypatch):
    """Three threads share a batch of any size."""
    _replace(monkeypatch, "cores", lambda: 3)
    monkeypatch.setattr(threads, "SMALL", 0)


@pytest.fixture
def memory_full_of_nan(monkeypatch):
    """Numbers that a kernel has not written are NaN, so they are noticed."""

    def filling(function):
        def full(*arguments):
            a = function(*arguments)
            a.reshape(-1).view("uint8").fill(255)  # floats of such bytes are NaN
            return a

        return full

    for name in ("empty", "scratch"):
        _replace(monkeypatch, name, filling(getattr(memory, name)))
