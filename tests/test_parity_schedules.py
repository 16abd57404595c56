"""An independent check of learning rates: torch.optim.lr_scheduler, step by step."""

import pytest

from scratchvae.runs.schedules import lr_factor

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="pip install -e '.[parity]'")
schedulers = torch.optim.lr_scheduler

STEPS, EPOCHS = 7, 5


def rates(make):
    """PyTorch's learning rates for every step of a run that begins with rate 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    for _ in range(STEPS * EPOCHS):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


def test_cosine():
    theirs = rates(lambda o: schedulers.CosineAnnealingLR(o, T_max=STEPS * EPOCHS))
    for step, rate in enumerate(theirs):
        assert lr_factor("cosine", step, STEPS, EPOCHS) == pytest.approx(rate, abs=1e-12)


def test_exponential():
    """PyTorch's schedule is stepped once per epoch."""
    theirs = rates(lambda o: schedulers.ExponentialLR(o, gamma=0.9))
    for epoch, rate in zip(range(EPOCHS), theirs, strict=False):
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            assert lr_factor("exponential", step, STEPS, EPOCHS, 0.9) == pytest.approx(rate)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up(schedule):
    """Two epochs; PyTorch counts the steps between the first and the full rate."""
    n = 2 * STEPS
    theirs = rates(lambda o: schedulers.LinearLR(o, start_factor=1 / n, total_iters=n - 1))
    for step, rate in enumerate(theirs):
        expected = rate * lr_factor(schedule, step, STEPS, EPOCHS)
        ours = lr_factor(schedule, step, STEPS, EPOCHS, warmup=2)
        assert ours == pytest.approx(expected, rel=1e-12)
