"""What kind of mistake a wrong gradient looks like: a sign, a factor, other axes, a lost mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, permutations
from math import prod

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass
class Comparison:
    """A wrong gradient beside the right one, of the same shape, float64."""

    got: np.ndarray
    right: np.ndarray
    tolerance: float  # what counts as equal, relative to the largest element
    known: Arrays = field(default_factory=dict)  # what a backward can use: inputs, dy, its cache
    others: Arrays = field(default_factory=dict)  # the right gradients of the other inputs

    def ideas(self) -> Iterator[str]:
        """Sentences about the mistake, the most specific first. There may be none."""
        got, right = self.got, self.right
        if not np.isfinite(got).all():
            yield "it contains NaN or infinity"
            return
        if not got.any():
            yield "it is zero everywhere"
        if not right.any():
            yield "it should be zero everywhere"
        for name, other in self.others.items():
            if self.same(got, other):
                yield f"it is what {name} should be"
        if factor := self.factor(got, right):
            yield f"every element is {_number(factor)} times the right value{self.meaning(factor)}"
        for name, a in self.known.items():
            if self.same(got, a):
                yield f"it is {name} itself"
        yield from self.arranged()
        yield from self.masked()
        yield from self.scaled()
        yield from self.added()

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Equal up to the tolerance, relative to b."""
        return a.shape == b.shape and bool(
            np.max(np.abs(a - b)) <= self.tolerance * np.max(np.abs(b))
        )

    def factor(self, a: np.ndarray, b: np.ndarray) -> float:
        """c if a = c b, otherwise 0."""
        at = np.argmax(np.abs(b))
        c = float(a.flat[at] / b.flat[at]) if b.flat[at] else 0.0
        return c if c and np.isfinite(c) and self.same(a, c * b) else 0.0

    def meaning(self, factor: float) -> str:
        """What a factor may be: a sign, or a size of one of the arrays."""
        c = abs(factor)
        if np.isclose(factor, -1):
            return ": is a sign wrong?"
        for size, text in self.sizes():
            if np.isclose(c, size):
                return f": {text} = {size}; is a sum written where an average belongs?"
            if np.isclose(c, 1 / size):
                return f": 1 / {size}, and {text} = {size}; is an average written for a sum?"
        return ""

    def sizes(self) -> Iterator[tuple[int, str]]:
        """Sizes of the arrays, and products of them, the simplest first."""
        seen = {1, 2, 4}  # these have too many explanations
        for count in (1, 2, 3, 4):
            for name, a in self.known.items():
                for axes in combinations(range(a.ndim), count):
                    size = prod(a.shape[axis] for axis in axes)
                    if size not in seen:
                        seen.add(size)
                        yield size, " * ".join(f"{name}.shape[{axis}]" for axis in axes)

    def arranged(self) -> Iterator[str]:
        """The right numbers with other axes, or mirrored."""
        axes = range(self.got.ndim)
        if not 1 <= len(axes) <= 4:
            return
        for order in permutations(axes):
            turned = self.got.transpose(order)
            flips = [flip for count in (0, 1, 2) for flip in combinations(axes, count)]
            for flip in flips if turned.shape == self.right.shape else []:
                if self.same(np.flip(turned, flip), self.right):
                    exchanged = [f"with its axes in the order {order}"] * (order != tuple(axes))
                    mirrored = [f"mirrored along {_axes(flip)}"] * bool(flip)
                    yield f"{' and '.join(exchanged + mirrored)} it would be right"

    def masked(self) -> Iterator[str]:
        """Wrong where an array has one sign, or where either side is zero."""
        wrong = self.wrong()
        if wrong.all():
            return
        kind = self.kind(wrong)
        for name, a in self.known.items():
            for sign, where in ((">", a > 0), ("<=", a <= 0)):
                if a.shape == wrong.shape and (wrong == where).all():
                    yield f"it is wrong exactly where {name} {sign} 0{kind}"
        if kind:
            yield f"{wrong.sum()} of {wrong.size} elements are wrong{kind}"

    def wrong(self) -> np.ndarray:
        """True at each wrong element."""
        return np.abs(self.got - self.right) > self.tolerance * np.max(np.abs(self.right))

    def kind(self, wrong: np.ndarray) -> str:
        got, right = self.got[wrong], self.right[wrong]
        if not right.any():
            return ": they should be zero; is a mask missing?"
        if not got.any():
            return ": they are zero, and should not be"
        c = self.factor(got, right) if len(got) > 1 else 0.0
        return f": there it is {_number(c)} times the right value" if c else ""

    def scaled(self) -> Iterator[str]:
        """A factor too few or too many, up to a simple number."""
        got, right = self.got, self.right
        for name, a in self.broadcast():
            for text, b in ((name, a), (f"{name}**2", a * a), (f"(1 - {name})", 1 - a)):
                if not b.all() or np.allclose(b, b.flat[0]):
                    continue
                if _simple(c := self.factor(got * b, right)):
                    yield f"the factor {text} is missing{_and(c)}"
                elif _simple(c := self.factor(got, right * b)):
                    yield f"the factor {text} is there once too often{_and(c)}"
        for axis, size in enumerate(got.shape):
            parts = [np.moveaxis(a, axis, 0).reshape(size, -1) for a in (got, right)]
            factors = [self.factor(*part) for part in zip(*parts, strict=True)]
            if 1 < size < got.size and all(factors):
                shown = ", ".join(f"{c:.4g}" for c in factors[:5])
                yield f"each index of axis {axis} has a factor of its own: {shown}"

    def added(self) -> Iterator[str]:
        """A term too few or too many."""
        off = self.got - self.right
        for name, a in self.broadcast():
            if c := self.factor(off, a):
                yield f"it differs from the right one by {c:.6g} {name}"
        if off.size > 1 and self.same(off, np.full_like(off, off.flat[0])):
            yield f"it differs from the right one by {off.flat[0]:.6g} everywhere"
        for axis, size in enumerate(off.shape):
            rest = tuple(k for k in range(off.ndim) if k != axis)
            if 1 < size < off.size and self._constant(off, rest):
                yield (
                    f"it differs from the right one by a constant for each index of axis {axis}: "
                    "is an average or a sum missing, or wrong?"
                )
        for name, a in self.known.items():
            if a.shape == off.shape and off.ndim > 1 and self._affine(off, a):
                yield (
                    "it differs from the right one, for each index of axis 1, by a constant and a "
                    f"multiple of {name}: is a term with {name} missing, or wrong?"
                )

    def _constant(self, off: np.ndarray, axes: tuple[int, ...]) -> bool:
        return self.same(np.broadcast_to(off.mean(axes, keepdims=True), off.shape), off)

    def _affine(self, off: np.ndarray, a: np.ndarray) -> bool:
        """Whether off[:, c] = s + t a[:, c] for each c, as in a batch norm."""
        found = np.empty_like(off)
        for c in range(off.shape[1]):
            values = a[:, c].ravel()
            if values.size < 4:
                return False
            columns = np.stack([np.ones(values.size), values], axis=1)
            solution = np.linalg.lstsq(columns, off[:, c].ravel(), rcond=None)[0]
            found[:, c] = (columns @ solution).reshape(found[:, c].shape)
        return self.same(found, off)

    def broadcast(self) -> Iterator[tuple[str, np.ndarray]]:
        """The known arrays in the gradient's shape; a vector lies along the axis of its length."""
        shape = self.got.shape
        for name, a in self.known.items():
            if a.shape == shape:
                yield name, a
            elif a.ndim == 1 < a.size:
                for axis in (k for k, size in enumerate(shape) if size == a.size):
                    rest = [size if k == axis else 1 for k, size in enumerate(shape)]
                    yield name, np.broadcast_to(a.reshape(rest), shape)

    def where(self) -> str:
        """The part of the array that is wrong, or the number of wrong elements."""
        wrong = self.wrong()
        for axis, size in enumerate(wrong.shape):
            rest = tuple(k for k in range(wrong.ndim) if k != axis)
            rows = wrong.any(axis=rest)
            for of, what in ((rows, "wrong"), (~rows, "right")):
                if 0 < of.sum() <= size / 2:
                    listed = ", ".join(map(str, np.flatnonzero(of)[:6]))
                    return f"it is {what} only at index {listed} of axis {axis}"
        return f"{wrong.sum()} of {wrong.size} elements are wrong"


def _number(factor: float) -> str:
    text = f"{factor:.6g}"
    return f"{factor:.9g}" if text == "1" else text


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def _simple(factor: float) -> bool:
    return any(np.isclose(abs(factor), c) for c in (0.25, 0.5, 1, 2, 4))


def _and(factor: float) -> str:
    return "" if np.isclose(factor, 1) else f", and it is {factor:.4g} times too large"
