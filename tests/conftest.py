"""Fixtures and settings of the whole suite."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

import scratchvae as sv
from scratchvae import backend

# No deadline: the first example of a test may compile a kernel. The shapes are drawn by hypothesis,
# the numbers from a drawn seed, so that shrinking works on small integers.
settings.register_profile(
    "scratchvae",
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# CI draws the same examples every time: a red run is then news about the code, not about luck.
settings.register_profile("ci", settings.get_profile("scratchvae"), derandomize=True)
# Under a planted fault (tests/mutations) only the verdict counts: no shrinking, the same draws.
settings.register_profile(
    "mutations",
    settings.get_profile("scratchvae"),
    derandomize=True,
    phases=[Phase.generate],
)
# A gradient of zero is wrong in every example: a few are enough, one of them with a bias.
settings.register_profile("zeroed", settings.get_profile("mutations"), max_examples=10)
settings.load_profile("ci" if os.environ.get("CI") else "scratchvae")

ENGINES = ["numpy", "numba", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=ENGINES)
def engine(request):
    """Run the test once on every engine; `pytest -m gpu` asks for the GPU's runs."""
    if request.param == "cuda" and (problem := backend.gpu_problem()):
        pytest.skip(problem)
    with sv.using(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def engine_left_alone():
    """No test may leave another engine behind than it found."""
    before = backend._engine, backend._host_engine, backend._announced
    yield
    backend._engine, backend._host_engine, backend._announced = before
