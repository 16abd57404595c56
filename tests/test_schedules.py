import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvae.runs.schedules import KL_SCHEDULES, LR_SCHEDULES, kl_factor, lr_factor

runs = st.tuples(st.integers(1, 50), st.integers(1, 20))  # steps per epoch, epochs
# a warm-up that is shorter or longer than the run, or very short
warmups = st.just(0.0) | st.floats(1e-9, 100)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 1.0),
        ("constant", 39, 1.0),
        ("exponential", 0, 1.0),
        ("exponential", 9, 1.0),  # the last step of the first epoch
        ("exponential", 10, 0.5),
        ("exponential", 39, 0.125),
        ("cosine", 0, 1.0),
        ("cosine", 10, (1 + math.sqrt(0.5)) / 2),
        ("cosine", 20, 0.5),
        ("cosine", 40, 0.0),
    ],
)
def test_learning_rates(schedule, step, expected):
    """Four epochs of ten steps."""
    assert lr_factor(schedule, step, 10, 4, decay=0.5) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_warm_up_multiplies_the_schedule(schedule):
    """Twenty steps: the first one has a rate above 0, and the twentieth the full rate."""
    for step in range(40):
        without, factor = (
            lr_factor(schedule, step, 10, 4),
            lr_factor(schedule, step, 10, 4, 0.95, 2),
        )
        assert factor == pytest.approx(without * min(1, (step + 1) / 20))
    assert lr_factor("constant", 0, 10, 4, 0.95, 2) == 0.05
    assert lr_factor("constant", 19, 10, 4, 0.95, 2) == 1


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 1.0),
        ("linear", 0, 0.0),
        ("linear", 5, 0.25),
        ("linear", 20, 1.0),
        ("linear", 39, 1.0),
        ("cyclical", 0, 0.0),
        ("cyclical", 5, 0.5),
        ("cyclical", 10, 1.0),
        ("cyclical", 19, 1.0),
        ("cyclical", 20, 0.0),
        ("cyclical", 39, 1.0),
    ],
)
def test_kl_weights(schedule, step, expected):
    """Four epochs of ten steps, a warm-up of two epochs, two cycles."""
    assert kl_factor(schedule, step, 10, 4, warmup=2, cycles=2) == expected


@given(run=runs, cycles=st.integers(1, 6))
def test_a_cyclical_weight_starts_as_often_as_it_is_told(run, cycles):
    """If the cycles divide the steps: zero once per cycle, and 1 at the end."""
    steps_per_epoch, epochs = run[0] * cycles, run[1]
    weights = [
        kl_factor("cyclical", step, steps_per_epoch, epochs, cycles=cycles)
        for step in range(steps_per_epoch * epochs)
    ]
    assert weights.count(0.0) == cycles
    length = len(weights) // cycles
    assert weights == pytest.approx(weights[:length] * cycles)
    assert weights[-1] == 1 or length < 2


@given(run=runs, warmup=warmups, data=st.data())
def test_factors_lie_between_0_and_1(run, warmup, data):
    """Also after the end, where a shortened run may be."""
    step = data.draw(st.integers(0, 2 * run[0] * run[1]))
    for schedule in LR_SCHEDULES:
        assert 0 <= lr_factor(schedule, step, *run, 0.9, warmup) <= 1
    for schedule in KL_SCHEDULES:
        assert 0 <= kl_factor(schedule, step, *run, warmup, 3) <= 1


@given(run=runs, warmup=warmups)
def test_warm_ups_never_fall_and_schedules_never_rise(run, warmup):
    steps = range(run[0] * run[1])
    rates = [lr_factor("constant", step, *run, warmup=warmup) for step in steps]
    weights = [kl_factor("linear", step, *run, warmup=warmup) for step in steps]
    assert rates == sorted(rates) and weights == sorted(weights)
    assert rates[-1] == 1 or warmup * run[0] >= len(steps)  # the first step has a rate above 0
    assert weights[-1] == 1 or warmup * run[0] > len(steps) - 1  # the first step has weight 0
    for schedule in ("exponential", "cosine"):
        falling = [lr_factor(schedule, step, *run) for step in steps]
        assert falling == sorted(falling, reverse=True)
        assert falling[0] == 1 and falling[-1] > 0


def test_a_kl_weight_without_warm_up_is_there_at_once():
    assert kl_factor("linear", 0, 10, 4, warmup=0) == 1


def test_unknown_schedules_are_refused():
    expected = r"lr_factor: schedule must be one of \('constant', .*, got 'cosin'"
    with pytest.raises(ValueError, match=expected):
        lr_factor("cosin", 0, 1, 1)
    with pytest.raises(ValueError, match=r"kl_factor: schedule must be one of .*, got 'cosine'"):
        kl_factor("cosine", 0, 1, 1)
