"""A training step, recorded line by line: which line of which function made which array.

    step = record(model, x, eps)
    for op, line, name, array in step: ...

The step runs on a copy of the model, on the engine numpy, which runs the ops as they are written in
`ops/`. Python calls a trace function (`sys.settrace`) at each line of the functions that a reader
of the step wants to see: those of the model, the bodies of the ops, and the optimizer's update. The
trace function notes what the line before has assigned.
"""

from __future__ import annotations

import inspect
import re
import sys
import zlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from ..backend import REGISTRY, asnumpy, is_array, using
from ..models import Model
from ..models.inspect import named_modules
from ..module import Module
from ..ops import Losses
from ..optim import Adam, Optimizer, clip_grad_norm
from .source import Function, function_of

RESERVED = {"step", "model", "update", "map", "proof", "help", "source", "x"}
RESERVED |= {"bce", "mse", "kl", "kl_free_bits", "elbo"}  # ops that models call themselves
PLUMBING = {"backend.py", "base.py", "layers.py", "module.py", "optim.py"}  # no mathematics here


class Record(NamedTuple):
    """An array, and the line that made it."""

    op: str  # "conv1.forward": the name of the layer, and the function
    line: int  # in the file of the function
    name: str  # of the variable
    array: np.ndarray


@dataclass(eq=False)
class Line:
    """One run of a statement, with the arrays that it assigned or returned, and those it read."""

    statement: int  # its position in the function
    made: dict[str, np.ndarray] = field(default_factory=dict)
    read: list[np.ndarray] = field(default_factory=list)
    ended: int = 0  # its number in the order in which lines end


@dataclass(eq=False)
class Call:
    """One call of a recorded function."""

    scope: str  # the layer, such as "conv1"; "model"; or an op or update that is no layer
    function: Function
    op: str  # the op whose forward or backward this is, or ""
    arguments: dict[str, Any]
    owned: dict[str, str]  # arguments that are a weight or buffer -> its name in the model
    caller: Call | None
    begun: Line | None  # the caller's line
    lines: list[Line] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """ "backward", "forward" or, for the update, "update". What backward calls is backward."""
        if self.is_update:
            return "update"
        within = self.caller is not None and self.caller.direction == "backward"
        return "backward" if within or "backward" in self.function.name else "forward"

    @property
    def is_update(self) -> bool:
        """Whether it is the optimizer's update, or the clipping of the gradients before it."""
        return self.op == "optim"


@dataclass
class Step:
    """A recorded step. Iterating over it gives a `Record` for every array that a line made."""

    model: Model  # before the step
    optimizer: Optimizer  # before the step; of `model`
    updated: Model  # after it
    gradient: np.ndarray  # of all parameters in a row, before any clipping
    x: np.ndarray
    eps: np.ndarray
    losses: Losses
    losses_after: Losses  # of the same batch and noise
    calls: list[Call]  # in the order of their beginnings
    lines: list[tuple[Call, Line]]  # in the order in which they ran

    def __iter__(self) -> Iterator[Record]:
        for call, line in sorted(self.lines, key=lambda run: run[1].ended):
            number = call.function.statements[line.statement].first
            for name, array in line.made.items():
                yield Record(f"{call.scope}.{call.function.name}", number, name, array)

    def __repr__(self) -> str:
        return (
            f"Step({type(self.model).__name__}: {len(self.calls)} calls, {len(self.lines)} lines)"
        )


def record(
    model: Model,
    x: Any,
    eps: Any = None,
    optimizer: Optimizer | None = None,
    max_norm: float | None = None,
) -> Step:
    """Record one training step; the model and the optimizer stay as they are.

    Parameters
    ----------
    model : Model
        Its step runs in training mode, on the CPU.
    x : array (N, C, H, W)
        Images in the model's data_range and dtype.
    eps : array (N, *latent_shape), optional
        The noise. Default: drawn with seed 0.
    optimizer : Optimizer, optional
        Of this model. Default: Adam with a learning rate of 1e-3, before its first step.
    max_norm : float, optional
        Clip the gradients to this norm: see `optim.clip_grad_norm`.

    Returns
    -------
    Step
        Iterate over it for a `Record` of every array, in the order of the lines.

    Raises
    ------
    ValueError, TypeError
        If x or eps does not fit the model, or the optimizer belongs to another model.

    Notes
    -----
    Unlike `train.train_step`, it goes on if the loss is not finite, so that you can see where.
    """
    if not isinstance(model, Model):
        raise TypeError(f"record: model must be a Model, got {_kind(model)}")
    if not is_array(x):
        raise TypeError(f"record: x must be a NumPy or CuPy array, got {_kind(x)}")
    if not isinstance(optimizer, Optimizer | None):
        raise TypeError(f"record: optimizer must be an Optimizer, got {_kind(optimizer)}")
    if optimizer is not None and optimizer.model is not model:
        raise ValueError("record: the optimizer was made for another model")
    before = deepcopy(optimizer or Adam(model))  # with a copy of the model
    before.model.to("cpu")
    before.model.train()
    running = deepcopy(before)
    x = np.array(asnumpy(x))
    eps = running.model.noise(len(x), np.random.default_rng(0)) if eps is None else asnumpy(eps)
    eps = np.array(eps)
    with using("numpy"), np.errstate(all="ignore"):
        recorder = _Recorder(running, before.model)
        losses = recorder.run(x, eps, max_norm)
        recorder.check_unchanged()
        after = deepcopy(running.model).loss(x, eps, keep=False)
    return Step(
        before.model, before, running.model, recorder.gradient(), x, eps, losses, after,
        recorder.calls, recorder.lines,
    )  # fmt: skip


def training_step(
    model: Model, optimizer: Optimizer, x: Any, eps: Any, max_norm: float | None
) -> Losses:
    """The calls of `train.train_step`, without its check that the loss is finite."""
    optimizer.zero_grad()
    losses = model.loss(x, eps)
    model.backward()
    if max_norm is not None:
        clip_grad_norm(model, max_norm)
    optimizer.step()
    return losses


class _Recorder:
    """Runs a step with a trace function that fills `calls` and `lines`."""

    def __init__(self, optimizer: Optimizer, before: Model) -> None:
        self.optimizer, self.model = optimizer, optimizer.model
        self._weights = {name: p.value for name, p in before.parameters().items()}
        self._updating = False
        self._ended = 0
        self._checksums: dict[int, tuple[str, np.ndarray, int]] = {}  # by the array's id
        self.calls: list[Call] = []
        self.lines: list[tuple[Call, Line]] = []
        self._names = {id(self.model): "model"}
        self._names |= {id(m): scope_of(name) for name, m in named_modules(self.model)}
        self._bodies = _bodies()
        self._open: dict[FrameType, Call] = {}
        self._owned = {name: p.value for name, p in self.model.parameters().items()}
        for name, module in [("", self.model), *named_modules(self.model)]:
            self._owned |= {f"{name}.{b}": getattr(module, b) for b in module.buffers}
        flat = [self.model.flat_value, self.model.flat_grad]
        self._changing = [*flat, *self._owned.values()]

    def run(self, x: np.ndarray, eps: np.ndarray, max_norm: float | None) -> Losses:
        before = sys.gettrace()  # a debugger's, or coverage's
        sys.settrace(self._enter)
        try:
            return training_step(self.model, self.optimizer, x, eps, max_norm)
        finally:
            sys.settrace(before)

    def gradient(self) -> np.ndarray:
        """The gradient of all parameters as the update, or the clipping, got it."""
        given = (call.arguments["grad"] for call in self.calls if call.is_update)
        return next(given, self.model.flat_grad)

    def check_unchanged(self) -> None:
        """ValueError if a line has changed an array that an earlier line made."""
        for name, a, before in self._checksums.values():
            if _checksum(a) != before:
                raise ValueError(
                    f"record: a later line changes {name} in place, so its numbers are lost: write "
                    "h = 2 * h instead of h *= 2"
                )

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        """Called at the beginning of every function: whether to trace it."""
        code = frame.f_code
        if event != "call" or not (found := self._scope(frame, code)):
            return None
        scope, op = found
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = {n: frame.f_locals[n] for n in names if n != "self"}
        arrays = {n: a for n, a in given.items() if isinstance(a, np.ndarray)}
        owned = {n: owner for n, a in arrays.items() if (owner := self._owner(a))}
        outer = frame.f_back
        while outer is not None and outer not in self._open:
            outer = outer.f_back
        caller = self._open[outer] if outer is not None else None
        begun = caller.lines[-1] if caller and caller.lines else None
        kept = {n: self._kept(a) for n, a in given.items()}
        call = Call(scope, function_of(code), op, kept, owned, caller, begun)
        self.calls.append(call)
        self._open[frame] = call
        return self._line

    def _scope(self, frame: FrameType, code: CodeType) -> tuple[str, str] | None:
        """The name of the layer and the op of a function that is recorded, else None."""
        if code is training_step.__code__:
            return "step", ""
        if op := self._bodies.get(code):
            if op == "optim":
                self._updating = True
                return "update", op
            outer = frame.f_back
            while outer is not None:
                name = self._names.get(id(outer.f_locals.get("self")), "model")
                if name != "model":
                    return name, op
                outer = outer.f_back
            return op, op
        owner = frame.f_locals.get("self")
        if (
            code.co_name.startswith(("_", "<"))
            or not isinstance(owner, Module)
            or id(owner) not in self._names
        ):
            return None
        ours = Path(code.co_filename).is_relative_to(Path(__file__).parents[1])
        if ours and Path(code.co_filename).name in PLUMBING:
            return None
        return self._names[id(owner)], ""

    def _line(self, frame: FrameType, event: str, value: Any) -> Any:
        """Called at each line of a recorded function, before it runs, and at the return."""
        call = self._open[frame]
        statements = call.function.statements
        if event == "line":
            here = next(
                (k for k, s in enumerate(statements) if s.first <= frame.f_lineno <= s.last), None
            )
            last = call.lines[-1].statement if call.lines else None
            if here is None or here == last:
                return self._line  # the docstring, or a further line of a long statement
            self._finish(call, frame, here)
            line = Line(here)
            for name in statements[here].reads:
                line.read += arrays_in(frame.f_locals.get(name))
            call.lines.append(line)
            self.lines.append((call, line))
        elif event == "return":
            self._finish(call, frame, None)
            call.result = self._result(call, value)
            del self._open[frame]
        return self._line

    def _finish(self, call: Call, frame: FrameType, following: int | None) -> None:
        """Note what the last line has assigned. The line of a loop assigns nothing if what follows
        is not the loop's body."""
        if not call.lines:
            return
        line = call.lines[-1]
        line.ended = self._ended = self._ended + 1
        statement = call.function.statements[line.statement]
        if statement.is_loop and following != line.statement + 1:
            return
        for name in statement.assigns:
            for part, a in _parts(name, frame.f_locals.get(name)).items():
                line.made[part] = kept = self._kept(a)
                if kept is a and id(a) not in self._checksums:
                    where = f"{part} of {call.scope}.{call.function.name}"
                    self._checksums[id(a)] = where, a, _checksum(a)

    def _result(self, call: Call, value: Any) -> dict[str, Any]:
        """The returned arrays by name; those that have no variable are made by the return."""
        values = value if type(value) is tuple else (value,)
        statement = call.function.statements[call.lines[-1].statement] if call.lines else None
        texts = statement.returns if statement else ()
        documented = re.match(r"[\w, ]+", call.function.doc)
        words = documented[0].split(", ") if call.op and documented else []
        named: dict[str, Any] = {}
        for k, a in enumerate(values):
            text = texts[k] if k < len(texts) == len(values) else ""
            name = words[k] if k < len(words) and words[k].isidentifier() else text or "result"
            parts = {part: self._kept(a) for part, a in _parts(name, a).items()}
            named |= parts
            if text and not text.isidentifier():
                call.lines[-1].made |= parts
        return named

    def _owner(self, a: np.ndarray) -> str:
        """The name of the weight or buffer that this argument is, or ""."""
        layout = a.shape, a.strides
        same = (n for n, own in self._owned.items() if (own.shape, own.strides) == layout)
        return next((n for n in same if np.may_share_memory(a, self._owned[n])), "")

    def _kept(self, a: Any) -> Any:
        """An array as it is now: a copy if the step changes it in place, as the update does. Before
        the update a weight is that of the model before the step, each time the same array."""
        if isinstance(a, np.ndarray):
            if self._updating:
                return a.copy()
            if (name := self._owner(a)) in self._weights:
                return self._weights[name]
            changing = any(np.may_share_memory(a, other) for other in self._changing)
            return a.copy() if changing else a
        return np.asarray(a) if isinstance(a, np.floating) else a


def _parts(name: str, value: Any) -> dict[str, Any]:
    """The arrays of a variable, and numbers that NumPy computed; those of the losses by name."""
    if name == "losses" and isinstance(value, tuple) and len(value) == len(Losses._fields):
        return {f"losses.{field}": a for field, a in zip(Losses._fields, value, strict=True)}
    numbers = isinstance(value, np.ndarray | np.floating) and value.dtype.kind in "fiub"
    return {name: value} if numbers else {}


def scope_of(name: str) -> str:
    """What a layer is called on the page: its name in the model, unless that means something else
    there or cannot be part of an address."""
    name = re.sub(r"[^\w.-]", "_", name)
    return f"layer-{name}" if name in RESERVED else name


def _checksum(a: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(a).tobytes())


def _kind(a: Any) -> str:
    return repr(a) if isinstance(a, str | None) else type(a).__name__


def arrays_in(value: Any) -> list[np.ndarray]:
    """The arrays of a variable, also of a list of them."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, tuple | list):
        return [a for part in value for a in arrays_in(part)]
    return []


def _bodies() -> dict[CodeType, str]:
    """The code of every op's body, and of the updates (whose file is called optim)."""
    found = {}
    for op, functions in REGISTRY.items():
        for function in functions.values():
            body: Any = inspect.unwrap(vars(function)["reference"])
            found[body.__code__] = op
    return found
