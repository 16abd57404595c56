"""Fixtures and settings of the whole suite."""

import os
import shutil
import signal
import sys

import pytest
from harness import FEW_CHANNELS
from hypothesis import HealthCheck, Phase, settings
from on_host import build, cublas, stand_in

import scratchvae as sv
from scratchvae import backend
from scratchvae.gpu import graph
from scratchvae.kernels import cuda
from scratchvae.kernels.cuda import blas

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# A shell that starts pytest in the background ignores Ctrl-C, `nohup` a hangup; the processes of
# tests must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# No deadline: the first example of a test may compile a kernel. Hypothesis draws the shapes and a
# seed for the numbers, so that shrinking works on small integers.
settings.register_profile(
    "newcomer",
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# CI draws more examples, the same ones every time, so that a failure comes from a change of code.
settings.register_profile("ci", settings.get_profile("newcomer"), max_examples=25, derandomize=True)
# Under a planted fault (tests/mutations) only pass or fail matters: no shrinking, fixed examples.
settings.register_profile("mutations", settings.get_profile("ci"), phases=[Phase.generate])
# A zero gradient is wrong in every example, so a few are enough, one of them with a bias.
settings.register_profile("zeroed", settings.get_profile("mutations"), max_examples=10)
settings.load_profile("ci" if os.environ.get("CI") else "newcomer")
# If pytest finds these, it explains a failed comparison in full, which takes hours for long bytes.
for variable in ("CI", "BUILD_NUMBER"):
    os.environ.pop(variable, None)

ENGINES = [
    "numpy",
    "numba",
    pytest.param("cuda_on_host", marks=pytest.mark.cuda_on_host),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the option
def pytest_cmdline_main(config):
    """`pytest` alone uses all cores. With `-m` or a file it uses one, unless `-n` asks for more."""
    alone = config.args_source is config.ArgsSource.TESTPATHS
    usual = config.option.markexpr in config.getini("addopts")
    if hasattr(config, "workerinput"):  # a worker must not have workers of its own
        return
    if alone and usual and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = "auto"
        config.option.dist = "worksteal"


@pytest.fixture(params=ENGINES)
def engine(request):
    """Run the test once on every engine. "cuda_on_host" is the engine cuda with tests/on_host in
    place of CuPy; `pytest -m gpu` selects the runs on a GPU."""
    if request.param == "cuda_on_host":
        request.getfixturevalue("cupy_on_host")
    elif request.param == "cuda" and (problem := backend.gpu_problem()):
        pytest.skip(problem)
    with sv.using(request.param.removesuffix("_on_host")):
        yield request.param


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: "long" not in item.keywords)


def pytest_itemcollected(item):
    if "cupy_on_host" in item.fixturenames:
        item.add_marker("cuda_on_host")


@pytest.fixture
def few_channels(monkeypatch):
    """`celeba` and `skip` with fewer channels take a hundredth of the time. Their full width is in
    tests/golden, on every engine, and in `scratchvae check --all`, which .ci/run calls."""
    for model in ("celeba", "skip"):
        monkeypatch.setattr(f"scratchvae.models.{model}.CHANNELS", FEW_CHANNELS)


@pytest.fixture
def cupy_on_host(monkeypatch):
    """`import cupy` finds the stand-in, whose kernels run on the host."""
    if problem := build.problem():
        pytest.skip(problem)
    for name, module in stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(blas, "_library", lambda: cublas)
    _forget_compiled()
    yield sys.modules["cupy"]
    _forget_compiled()


def _forget_compiled():
    cuda._function.cache_clear()
    cuda._module.cache_clear()
    blas._handle.cache_clear()
    graph._stream.cache_clear()


@pytest.fixture(autouse=True)
def engine_left_alone():
    """Every test must leave the engine as it was before."""
    before = backend._engine, backend._host_engine, backend._announced
    yield
    backend._engine, backend._host_engine, backend._announced = before


@pytest.fixture(scope="module")
def chromium():
    """A browser; tests are skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    if not (path := shutil.which("chromium")):
        pytest.skip("no chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()
