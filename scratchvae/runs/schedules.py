"""Schedules of the learning rate and the KL weight: factors, as functions of time.

    time t in epochs (a real number); T = the number of epochs

    learning rate   constant      1
                    exponential   decay^floor(t)                        steps down once an epoch
                    cosine        (1 + cos(pi t / T)) / 2               decays to zero at the end
                    with warm-up  the same, times min(1, (t + one step) / warmup)
    KL weight       constant      1
                    linear        min(1, t / warmup)
                    cyclical      min(1, 2 (c t / T mod 1))             c times: half a cycle up,
                                                                        half a cycle at 1

A full KL weight from the first step can push all codes onto the prior before the decoder learns to
use them; a growing weight avoids this. Below the full weight the objective is not the -ELBO.

Sources: Loshchilov & Hutter (arXiv:1608.03983), equation 5, one cycle; Bowman et al.
(arXiv:1511.06349), section 3.1; Fu et al. (arXiv:1903.10145), equation 6 with R = 1/2.
"""

from __future__ import annotations

import math

LR_SCHEDULES = ("constant", "exponential", "cosine")
KL_SCHEDULES = ("constant", "linear", "cyclical")


def lr_factor(
    schedule: str,
    step: int,
    steps_per_epoch: int,
    epochs: int,
    decay: float = 0.95,
    warmup: float = 0.0,
) -> float:
    """The factor of the learning rate in a step, counted from 0. ValueError: unknown schedule.

    `decay` is for "exponential"; a warm-up of `warmup` epochs multiplies any schedule.
    """
    t = step / steps_per_epoch
    if schedule == "constant":
        factor = 1.0
    elif schedule == "exponential":
        factor = decay ** (step // steps_per_epoch)
    elif schedule == "cosine":
        factor = (1 + math.cos(math.pi * min(1.0, t / epochs))) / 2
    else:
        raise ValueError(f"lr_factor: schedule must be one of {LR_SCHEDULES}, got {schedule!r}")
    if warmup > 0:  # step + 1: the first step has a rate above 0
        factor *= min(1.0, (step + 1) / (warmup * steps_per_epoch))
    return factor


def kl_factor(
    schedule: str,
    step: int,
    steps_per_epoch: int,
    epochs: int,
    warmup: float = 10.0,
    cycles: int = 4,
) -> float:
    """The factor of the KL weight in a step, counted from 0. ValueError: unknown schedule.

    "linear" reaches 1 after `warmup` epochs; "cyclical" starts at 0 `cycles` times.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return min(1.0, step / (warmup * steps_per_epoch)) if warmup > 0 else 1.0
    if schedule == "cyclical":
        return min(1.0, 2 * ((cycles * step / (epochs * steps_per_epoch)) % 1))
    raise ValueError(f"kl_factor: schedule must be one of {KL_SCHEDULES}, got {schedule!r}")
