"""One objective on several scales: KL weights for a sum, a mean or a likelihood.

For a squared error over images of P elements (P = C H W), these have the same minimum:

    mean    1/P SSE            + w KL               w the KL weight for a mean squared error
    sum         SSE            + w P KL             multiplied by P
    beta    SSE / (2 sigma^2)  + beta KL            divided by 2 sigma^2: -log p(x|z), less its
                                                    constant, for a Gaussian decoder of standard
                                                    deviation sigma; beta = w P / (2 sigma^2)

KL is in nats per image, summed over the latent dimensions; all are means over the batch. With beta
= 1 the objective is the -ELBO, so a KL weight is a choice of sigma. A cross-entropy is in nats
without any sigma: its beta is the KL weight of the sum. The gradients of two scales differ by the
same factor, which changes the steps of SGD, but hardly those of Adam.
Source: Kingma & Welling (arXiv:1312.6114), equation 10; Higgins et al., "beta-VAE" (2017).
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NamedTuple

from ..notebook import html_table


class Scales(NamedTuple):
    """The same objective on every scale."""

    elements: int
    mean: float
    sum: float
    beta: float
    sigma: float

    def _repr_html_(self) -> str:
        """For a notebook."""
        meanings = (
            "elements of an image, P = C H W",
            "KL weight beside the mean squared error",
            "KL weight beside the sum of squared errors",
            "KL weight beside -log p(x|z) of a Gaussian decoder",
            "standard deviation of that decoder",
        )
        cells = zip(meanings, self._fields, (f"{number:g}" for number in self), strict=True)
        return html_table([["meaning", "name", "number"], *cells])

    def neg_elbo(self, mean_squared_error: Any, kl: Any) -> Any:
        """-ELBO in nats per image of a Gaussian decoder of standard deviation sigma, for any beta.
        Takes numbers, or arrays with one for each image. It may be below zero."""
        variance = self.sigma**2
        constant = math.log(2 * math.pi * variance) / 2
        return self.elements * (mean_squared_error / (2 * variance) + constant) + kl


def loss_scales(
    elements: int,
    *,
    mean: float | None = None,
    sum: float | None = None,
    beta: float | None = None,
    sigma: float | None = None,
) -> Scales:
    """Translate a KL weight from one scale to all others.

    Parameters
    ----------
    elements : int
        Of an image: C * H * W.
    mean, sum : float, optional
        The KL weight for the mean or for the sum of the squared error; not both.
    beta : float, optional
        The KL weight for -log p(x|z) of a Gaussian decoder.
    sigma : float, optional
        That decoder's standard deviation. Default: 1, or what beta and mean or sum imply.

    Raises
    ------
    ValueError
        If too few or too many are given, or a number is not above zero.

    Examples
    --------
    >>> round(loss_scales(3 * 64 * 64, mean=0.00025).beta, 9)
    1.536
    >>> round(loss_scales(3 * 64 * 64, mean=0.00025, beta=1).sigma, 4)
    1.2394
    """
    all_scales = {"elements": elements, "mean": mean, "sum": sum, "beta": beta, "sigma": sigma}
    given = {name: number for name, number in all_scales.items() if number is not None}
    for name, number in given.items():
        if not isinstance(number, Real) or not 0 < number < math.inf:
            raise ValueError(f"loss_scales: {name} must be a number above 0, got {number!r}")
    weights = given.keys() & {"mean", "sum", "beta"}
    alone, pair = len(weights) == 1, len(weights) == 2 and beta is not None and sigma is None
    if not (alone or pair):
        raise ValueError(
            "loss_scales: give one of mean, sum and beta, with or without sigma; or beta with "
            f"mean or sum, without sigma; got {', '.join([*given][1:]) or 'none of them'}"
        )
    sigma = sigma or 1.0
    if mean is not None:
        sum = mean * elements
    if sum is None:
        assert beta is not None
        sum = 2 * sigma**2 * beta
    elif beta is not None:
        sigma = math.sqrt(sum / (2 * beta))
    return Scales(elements, sum / elements, sum, sum / (2 * sigma**2), sigma)
