"""What kind of mistake a wrong gradient looks like: a sign, a factor, other axes, a lost mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, permutations
from math import prod

import numpy as np

from .phrases import also, axes_text, is_simple, number, of, product, side

Arrays = Mapping[str, np.ndarray]


@dataclass
class Comparison:
    """A wrong gradient beside the right one, of the same shape, float64."""

    got: np.ndarray
    right: np.ndarray
    tolerance: float  # what counts as equal, relative to the largest element
    known: Arrays = field(default_factory=dict)  # what a backward can use: inputs, dy, its cache
    others: Arrays = field(default_factory=dict)  # the right gradients of the other inputs
    options: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # "kernel_size": (3, 2)
    dy: str = "dy"  # the name of the incoming gradient among the known

    def ideas(self) -> Iterator[str]:
        """Sentences about the mistake, the most specific first. There may be none."""
        got, right = self.got, self.right
        if bad := np.sum(~np.isfinite(got) & (got != right) & ~np.isnan(right)):
            part = f"{of(bad, got.size)} NaN or infinite"
            if got.size > 1:
                yield "it contains NaN or infinity" if bad == got.size else part
        if not (np.isfinite(got).all() and np.isfinite(right).all()):
            return
        if not got.any() and got.size > 1:
            yield "it is zero everywhere"
        if not right.any() and got.size > 1:
            yield "it should be zero everywhere"
        for name, other in self.others.items():
            if self.same(got, other):
                yield f"it is what {name} should be"
        if got.size == 1:  # one number is always a multiple of another
            if self.same(got, right * right):
                yield "it is the square of the right value"
            return
        if factor := self.factor(got, right):
            yield f"every element is {number(factor)} times the right value{self.meaning(factor)}"
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
        for size, text in self.sizes().items():
            if np.isclose(c, size):
                return f": {text} = {size}; is a sum written where an average belongs?"
            if np.isclose(c, 1 / size):
                return f": 1 / {size}, and {text} = {size}; is an average written for a sum?"
        return ""

    def sizes(self) -> dict[int, str]:
        """Numbers over which a sum or an average may go: those of the options, such as a window's
        cells, then the images, the values of an image or of a channel, and all."""
        found = {prod(sizes): product(name, range(len(sizes))) for name, sizes in
                 self.options.items()}  # fmt: skip
        from_shapes: dict[int, str] = {}
        for name, a in self.known.items():
            axes = range(a.ndim)
            for part in (axes[:1], axes[1:], axes[2:], axes[-2:], (*axes[:1], *axes[2:]), axes):
                text = product(f"{name}.shape", part)
                from_shapes.setdefault(prod(a.shape[k] for k in part), text)
        for size, text in from_shapes.items():
            found[size] = f"{found[size]} = {text}" if size in found else text
        return {size: text for size, text in found.items() if size not in (1, 2, 4)}  # too common

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
                    mirrored = [f"mirrored along {axes_text(flip)}"] * bool(flip)
                    yield f"{' and '.join(exchanged + mirrored)} it would be right"

    def masked(self) -> Iterator[str]:
        """Wrong where an array has one sign, or where either side is zero."""
        wrong, got, right = self.wrong(), self.got, self.right
        if not right.all() and ((got == 0) == (right != 0)).all():
            yield "it is zero exactly where it should not be: is a condition the wrong way round?"
        if wrong.all():
            for name, a in self.known.items():
                where = a > 0
                if a.shape == wrong.shape and 1 < where.sum() < where.size - 1:
                    above, below = (self.factor(got[w], right[w]) for w in (where, ~where))
                    if above and below:
                        yield (
                            f"it is {number(above)} times the right value where "
                            f"{side(name, a, True)}, and {number(below)} times elsewhere"
                        )
            return
        kind = self.kind(wrong)
        for name, a in self.known.items():
            for above in (True, False) if wrong.size >= 8 else ():  # fewer may fit by accident
                if a.shape == wrong.shape and (wrong == ((a > 0) == above)).all():
                    yield f"it is wrong exactly where {side(name, a, above)}{kind}"
        if kind:
            yield f"{of(wrong.sum(), wrong.size)} wrong{kind}"

    def wrong(self) -> np.ndarray:
        """True at each wrong element."""
        limit = self.tolerance * np.max(
            np.abs(self.right), where=np.isfinite(self.right), initial=0
        )
        return ~((np.abs(self.got - self.right) <= limit) | (self.got == self.right))

    def kind(self, wrong: np.ndarray) -> str:
        got, right = self.got[wrong], self.right[wrong]
        if not right.any():
            return ": zero would be right; is a condition missing, or wrong?"
        if not got.any() and got.size > 1:
            return ": they are zero, and should not be"
        c = self.factor(got, right) if len(got) > 1 else 0.0
        return f": there it is {number(c)} times the right value" if c else ""

    def scaled(self) -> Iterator[str]:
        """A factor too few or too many, up to a simple number."""
        got, right = self.got, self.right
        for name, a in self.broadcast():
            for text, b in ((name, a), (f"{name}**2", a * a), (f"(1 - {name})", 1 - a)):
                if not b.all() or np.allclose(b, b.flat[0]):
                    continue
                if is_simple(c := self.factor(got * b, right)):
                    yield f"the factor {text} is missing{also(c, 'with')}"
                elif is_simple(c := self.factor(got, right * b)):
                    yield f"the factor {text} is there once too often{also(c, 'without')}"
        for axis, size in enumerate(got.shape):
            parts = [np.moveaxis(a, axis, 0).reshape(size, -1) for a in (got, right)]
            factors = [self.factor(*part) for part in zip(*parts, strict=True)]
            if 1 < size < got.size and all(factors):
                shown = ", ".join(f"{c:.4g}" for c in factors[:5])
                yield f"each index of axis {axis} has a factor of its own: {shown}"

    def added(self) -> Iterator[str]:
        """A term too few or too many."""
        off = self.got - self.right
        for name, a in self.terms():
            if c := self.factor(off, a):
                factor = "" if np.isclose(abs(c), 1) else f"{abs(c):.4g} * "
                yield f"it is the right result {'+' if c > 0 else '-'} {factor}{name}"
        if off.size > 1 and self.same(off, np.full_like(off, off.flat[0])):
            yield f"it differs from the right result by {off.flat[0]:.6g} everywhere"
        for axis, size in enumerate(off.shape):
            rest = tuple(k for k in range(off.ndim) if k != axis)
            if 1 < size < off.size and self._constant(off, rest):
                yield (
                    f"it differs from the right result by a constant for each index of axis {axis}"
                    ": is an average or a sum missing, or wrong?"
                )
        for name, a in self.broadcast():
            for axis, size in enumerate(off.shape):
                parts = [np.moveaxis(b, axis, 0).reshape(size, -1) for b in (off, a)]
                if size > 1 and parts[0].shape[1] > 3 and all(map(self.factor, *parts)):
                    yield (
                        f"it differs from the right result, for each index of axis {axis}, by a "
                        f"multiple of {name}: is a factor in the term with {name} wrong?"
                    )
        for name, a in self.known.items():
            if a.shape == off.shape and off.ndim > 1 and self._affine(off, a):
                yield (
                    "it differs from the right result, for each index of axis 1, by a constant and "
                    f"a multiple of {name}: is a term with {name} missing, or wrong?"
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
            elif a.size == self.got.size and a.shape[:1] == shape[:1]:
                yield name, a.reshape(shape)
            elif a.ndim == 1 < a.size:
                for axis in (k for k, size in enumerate(shape) if size == a.size):
                    rest = [size if k == axis else 1 for k, size in enumerate(shape)]
                    yield name, np.broadcast_to(a.reshape(rest), shape)

    def terms(self) -> Iterator[tuple[str, np.ndarray]]:
        """What may be added: an array, its square, and both times dy."""
        arrays = [*self.broadcast()]
        for name, a in arrays:
            yield name, a
        for name, a in arrays:
            yield f"{name}**2", a * a
        for first, b in arrays:
            for name, a in arrays:
                if first == self.dy != name:
                    yield f"{self.dy} * {name}", b * a
                    yield f"{self.dy} * {name}**2", b * a * a

    def where(self) -> str:
        """The part of the array that is wrong, or the number of wrong elements."""
        wrong = self.wrong()
        used = (self.got != 0) | (self.right != 0)
        for axis in range(wrong.ndim):
            rest = tuple(k for k in range(wrong.ndim) if k != axis)
            if wrong.size < 3 * wrong.shape[axis]:  # a single element may be right by accident
                continue
            rows, seen = wrong.any(axis=rest), used.any(axis=rest)
            for part, what in ((rows, "wrong"), (~rows & seen, "right")):
                if 0 < part.sum() <= min(seen.sum() / 2, 6):
                    listed = ", ".join(map(str, np.flatnonzero(part)))
                    return f"it is {what} only at index {listed} of axis {axis}"
        return f"{of(wrong.sum(), wrong.size)} wrong" if wrong.size > 1 else ""
