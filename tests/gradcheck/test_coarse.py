"""Functions that round more than float64: they are constant over a short step, which agrees with a
gradient of zero. No seed may report this gradient as right."""

import re

import numpy as np
import pytest

from scratchvae.gradcheck import GradientError, NotAnalytic, check

pytestmark = pytest.mark.slow

ROUND = {  # x -> x, but coarse
    "float32": lambda a: a.astype("float32").astype("float64"),
    "float32 beside 1e4": lambda a: (a + 1e4).astype("float32").astype("float64") - 1e4,
    "float16": lambda a: a.astype("float16").astype("float64"),
    "three digits": lambda a: np.round(a, 3),
    "six digits": lambda a: np.round(a, 6),
    "1e9 that cancels": lambda a: (a + 1e9) - 1e9,
    "1e12 that cancels": lambda a: (a + 1e12) - 1e12,
}
OPTIONS = {"all": {}, "samples": {"samples": 3}, "direction": {"method": "direction"}}


def zero(dy, x):
    return np.zeros_like(x)


def everywhere(coarse):
    return lambda x: (coarse(x) ** 2, x)


def in_one_place(coarse):
    """Coarse in the last element only; the others are exact."""
    return lambda x: (np.append(x[:-1] ** 2, coarse(x[-1:])), x)


def in_a_part(coarse):
    """Coarse in one part of each number; the other part is exact."""
    return lambda x: ((x**2).sum() + coarse(3 * x[-1:]).sum(), x)


def without_the_last(dy, x):
    return dy * 2 * x * (np.arange(x.size) < x.size - 1)


PAIRS = {
    "everywhere": (everywhere, zero, lambda dy, x: 2 * x * dy),
    "one place": (in_one_place, without_the_last, lambda dy, x: dy * np.append(2 * x[:-1], 1)),
    "a part": (
        in_a_part,
        lambda dy, x: 2 * x * dy,
        lambda dy, x: dy * (2 * x + 3.0 * (np.arange(x.size) == x.size - 1)),
    ),
}


def inputs(seed):
    """Away from 0 and from each other, so that no gradient is negligibly small."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], 6) * rng.uniform(0.3, 2.0, 6)


@pytest.mark.parametrize("seed", range(8))
def test_zero_never_agrees_with_a_function_that_stands_still(seed):
    """126 combinations for each seed; a right gradient is not reported as wrong."""
    x = inputs(seed)
    for kind, coarse in ROUND.items():
        for place, (make, wrong, right) in PAIRS.items():
            for name, options in OPTIONS.items():
                said = check(make(coarse), wrong, x, seed=seed, raises=False, **options)
                assert not said.passed, (kind, place, name)
                said = check(make(coarse), right, x, seed=seed, raises=False, **options)
                assert said["x"].verdict in ("ok", "unseen"), (kind, place, name)


def test_one_element_that_is_very_coarse():
    """It is constant over a step of 0.01 as well, like a clip, but not over longer ones."""
    forward = in_one_place(lambda a: (a + 1e6).astype("float32").astype("float64") - 1e6)
    for seed in range(10):
        for options in OPTIONS.values():
            said = check(
                forward, without_the_last, inputs(seed), seed=seed, raises=False, **options
            )
            assert not said.passed


def test_case_5():
    """The mean of squares in float32, from cases/numbers.md."""

    def forward(x):
        return float(np.float32(np.mean((x.astype("f4") - 1) ** 2))), x

    for seed in range(15):
        x = np.random.default_rng(seed).standard_normal(4)
        for options in OPTIONS.values():
            assert not check(forward, zero, x, seed=seed, raises=False, **options).passed


@pytest.mark.parametrize("kind", ["float32", "six digits", "1e9 that cancels"])
@pytest.mark.parametrize("place", PAIRS)
def test_the_message_names_what_works(kind, place):
    make, wrong, right = PAIRS[place]
    for seed in range(5):
        x = inputs(seed)
        with pytest.raises(GradientError) as caught:
            check(make(ROUND[kind]), right, x, seed=seed)
        assert re.search("h=1e-3, tolerance=1e-3 it is right", str(caught.value))
        for method in ("central", "direction"):
            options = {"h": 1e-3, "tolerance": 1e-3, "seed": seed, "method": method}
            assert check(make(ROUND[kind]), right, x, **options).passed
            assert not check(make(ROUND[kind]), wrong, x, **options, raises=False).passed


def test_a_complex_step_in_complex64_is_refused():
    """An imaginary part of 1e-100 is zero there. Beside 1e4, differences of 1e-6 are lost too."""

    def coarse(x):
        return x.astype("c8" if x.dtype.kind == "c" else "f4").astype(x.dtype)

    for forward in (lambda x: (coarse(x) ** 2, x), lambda x: (coarse(x + 1e4), x)):
        for seed in range(10):
            with pytest.raises(NotAnalytic):
                check(forward, zero, inputs(seed), method="complex", seed=seed)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_outputs_that_are_constant(options):
    """Exact zeros over a long step are evidence, also if there is a second input."""
    x = np.full(3, 2.0)

    def clip(x):
        return np.clip(x, -1, 1), x

    def clip_backward(dy, x):
        return dy * (abs(x) < 1)

    assert check(clip, clip_backward, x, **options).zeros == ["x"]
    assert check(lambda x, w: (np.clip(x, -1, 1) + w, x), lambda dy, x: (0 * dy, dy), x, x).passed
    for seed in range(20):
        at = inputs(seed)
        assert check(lambda x: (np.sign(x), x), zero, at, seed=seed, **options).passed
        assert not check(clip, zero, at / 3, seed=seed, raises=False, **options).passed


@pytest.mark.parametrize("large", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("coarse", [False, True])
def test_small_beside_another_is_not_zero(large, coarse):
    """A gradient of 1 for x, given as zero, next to a gradient of a million."""

    def forward(x, w):
        x = x.astype("f4") if coarse else x
        return (x.astype("f8"), large * w), None

    report = check(
        forward, lambda dy, _: (0 * dy[0], large * dy[1]), inputs(0), inputs(1), raises=False
    )
    assert report["w"].passed and not report["x"].passed


def test_small_beside_another_and_a_constant_is_not_zero():
    """1e-10 next to 1 and an output of 1e3, whose rounding hides it."""

    def forward(x, w):
        return 1e-10 * x + w + 1e3, None

    for seed in range(10):
        report = check(
            forward, lambda dy, _: (0 * dy, dy), inputs(0), inputs(1), seed=seed, raises=False,
            tolerance=1e-6,
        )  # fmt: skip
        assert report["w"].passed and not report["x"].passed


def test_a_smooth_function_costs_little_more():
    """Evaluations of forward: 2 for each of 60 elements, and a few to measure rounding."""
    calls = []

    def forward(x):
        calls.append(1)
        return np.tanh(x), x

    check(forward, lambda dy, x: dy / np.cosh(x) ** 2, np.random.default_rng(0).uniform(-2, 2, 60))
    assert len(calls) < 160


STEPS = {  # name: forward, backward, number of elements, options
    "floor": (lambda x: (np.floor(3 * x) + x, x), lambda dy, x: dy * 1.0, 12, {}),
    "remainder": (lambda x: ((4 * x) % 1, x), lambda dy, x: 4 * dy, 12, {}),
    "step": (lambda x: (np.where(x > 0, 1, 0) + x**2, x), lambda dy, x: 2 * x * dy, 100, {}),
    "hard shrink": (lambda x: (x * (abs(x) > 0.5), x), lambda dy, x: dy * (abs(x) > 0.5), 30, {}),
    "a large hard shrink": (
        lambda x: (x * (abs(x) > 0.5), x), lambda dy, x: dy * (abs(x) > 0.5), 300, {"samples": 3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_many_elements_are_no_rounding(name):
    """Along a direction, some element has a step nearby on each side."""
    forward, backward, count, options = STEPS[name]
    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(count)
        assert check(forward, backward, x, seed=seed, **options).passed


def test_jumps_and_kinks_nearby_are_no_rounding():
    """A right gradient near them passes: only a function that jumps on both sides is coarse."""
    for seed in range(40):
        x = np.random.default_rng(seed).uniform(-1, 1, 8)
        assert check(lambda x: (np.abs(x), x), lambda dy, x: dy * np.sign(x), x, seed=seed).passed
        x[0] = 0.5 + 1e-3  # beyond it, the function is x, before it 0
        for options in OPTIONS.values():
            shrink = (lambda x: (x * (x > 0.5), x), lambda dy, x: dy * (x > 0.5))
            check(*shrink, x[:1], seed=seed, **options)
