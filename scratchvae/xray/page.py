"""The X-ray page: a recorded step as one HTML file, which needs no network.

page.html is the template. Its text is written here, with Jinja2 and Pygments. The JavaScript files
beside it draw the map's edges, walk along the lines, and say where a number comes from; they find
all numbers in the file itself.
"""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__, ops
from ..models import Model
from ..models.inspect import named_modules
from ..optim import Optimizer
from . import proof
from .graph import Node, graph
from .record import Call, Line, Step, record, scope_of
from .source import highlighted, relative, sources
from .tensors import SMALL, Tensors, packed

HERE = Path(__file__).parent
SCRIPTS = ("tensors", "map", "numbers", "terms", "why", "update", "view", "walk")  # .js
STYLES = ("page", "numbers")  # .css
GRADIENT = 20_000  # numbers; a larger gradient of a weight is only a picture
WEIGHTS = 256  # of each parameter, in the table of the update


def page(
    model: Model,
    x: Any,
    eps: Any = None,
    optimizer: Optimizer | None = None,
    max_norm: float | None = None,
    title: str = "",
    images: str = "",
) -> str:
    """A training step of the model as a page to walk through: the text of an HTML file.

    Parameters
    ----------
    model, x, eps, optimizer, max_norm
        See `record`. The page shows the first image of the batch x.
    title : str
        The page's title. Default: the name of the model's class.
    images : str
        Where the images come from, for the page's first line.

    Returns
    -------
    str
        Everything is inside: text, style, scripts, numbers. Write it to a file in UTF-8.
    """
    content = Content(record(model, x, eps, optimizer, max_norm))
    return rendered(content, title or type(model).__name__, images)


def rendered(content: Content, title: str, images: str) -> str:
    """The text of the file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        title=title,
        images=images,
        version=__version__,
        styles=[_text(f"{name}.css") for name in STYLES],
        scripts=[_text(f"{name}.js") for name in SCRIPTS],
        step=content.step,
        content=content,
        data=json.dumps(content.data(), allow_nan=False).replace("</", "<\\/"),
        on_axis=on_axis,
        limit=proof.TOLERANCE,
    )


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def is_option(argument: Any) -> bool:
    """Whether an argument is a number, True or False, or a tuple of numbers, such as a stride."""
    number = int | float
    if isinstance(argument, tuple):
        return all(isinstance(part, number) for part in argument)
    return isinstance(argument, number)


def on_axis(error: float) -> str:
    """Where an error stands on a logarithmic axis from 1e-17 (at 0) to 1 (at 136)."""
    return f"{136 * (np.log10(min(max(error, 1e-17), 1.0)) / 17 + 1):.1f}"


class Chip(NamedTuple):
    """An array beside the line that made it, or a number that a function was given."""

    name: str
    tensor: int | None
    value: str
    stop: int  # of the walk; -1 for arguments


class Row(NamedTuple):
    """A line of source text."""

    html: str
    stops: list[int]  # the stops of the walk at this line, counted within section and direction
    chips: list[Chip]  # at a statement's last line


class Listing(NamedTuple):
    """A function as it stands in its file, with the arrays that each line made."""

    title: str
    file: str
    first: int
    direction: str
    rows: list[Row]


class Section(NamedTuple):
    """The page of a layer, of an op without one, of the model, or of the update."""

    name: str
    op: str  # "" for functions of the model
    layer: str  # as `print(model)` shows it
    formula: str  # the text at the top of the op's file
    listings: dict[str, list[Listing]]  # by direction, in the order of the calls
    proofs: list[proof.Proof]


class Content:
    """What the template shows of a step, and what the scripts read."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.nodes = graph(step)
        self.lanes = 1 + max(n.lane for n in self.nodes)
        self.tensors = Tensors(len(step.x), step.model.image_shape[0] == 3)
        backward = {n.name: n for n in self.nodes if n.direction == "backward"}
        self.ops = {
            n.name: (n, backward.get(n.name))
            for n in self.nodes
            if n.direction == "forward" and n.is_op
        }
        self.stops, self.stop_of = _stops(step)
        self.explained = {name: self._explained(*both) for name, both in self.ops.items()}
        self.sections = self._sections()
        self.sources = {
            op: sources(op) for op in dict.fromkeys(s.op for s in self.sections if s.op)
        }
        self.whole = proof.of_step(step)
        self.proved = sum(len(p.samples) for s in self.sections for p in s.proofs)
        self.proved += sum(len(p.samples) for p in self.whole)
        self.wrong = [s.name for s in self.sections if any(p.verdict == "WRONG" for p in s.proofs)]
        self.wrong += [p.tensor for p in self.whole if p.verdict == "WRONG"]
        self.not_finite = self._first_not_finite()
        self.update = self._update()

    def _explained(self, forward: Node, backward: Node | None) -> dict[str, Any]:
        """An op for why.js: its options, the numbers of its tensors by name, and the nodes from
        which it got them."""
        call = forward.call
        tensors = {}
        for name, a in forward.inputs.items():
            tensors[name] = self.tensors.with_numbers(a, weight=name in call.owned)
        tensors |= {n: self.tensors.with_numbers(a) for n, a in forward.results.items()}
        inner = [c for c in self.step.calls if c is call or c.caller is call]
        made = [item for c in inner for line in c.lines for item in line.made.items()]
        for name, a in made:
            if name not in tensors and np.size(a) <= SMALL:
                tensors[name] = self.tensors.with_numbers(a)
        origins = {name: self._where(node) for name, node in forward.origins.items()}
        if backward:
            dy, *_ = backward.call.arguments.values()
            tensors["dy"] = self.tensors.with_numbers(dy)
            if backward.origins:
                origins["dy"] = self._where(next(iter(backward.origins.values())))
            for name, a in backward.results.items():
                weight = name.removeprefix("d") in call.owned
                small = not weight or a.size <= GRADIENT
                add = self.tensors.with_numbers if small else self.tensors.add
                tensors[name] = add(a, weight)
        options = {n: a for n, a in call.arguments.items() if is_option(a)}
        return {"op": forward.op, "options": options, "tensors": tensors, "origins": origins}

    def _first_not_finite(self) -> str:
        """The first weight, input or result of an op that has NaN or infinity, or ""."""
        weights = {f"the weight {n}": p.value for n, p in self.step.model.parameters().items()}
        found = [*weights.items(), ("the images", self.step.x), ("the noise", self.step.eps)]
        for node in self.nodes:
            where = f"of {node.name}, {node.direction}"
            found += [(f"{n} {where}", a) for n, a in node.results.items()]
        return next((name for name, a in found if not np.isfinite(a).all()), "")

    def _where(self, node: Node) -> tuple[str, str]:
        """A node's title and address."""
        return self.title(node), self.link(node)

    def _sections(self) -> list[Section]:
        """A section for every scope, in the order in which the step enters it."""
        parts = {id(line): (n, a) for n, a, line in self._unnamed()}
        modules: dict[str, Any] = {"": self.step.model}
        modules |= {scope_of(n): m for n, m in named_modules(self.step.model)}
        sections: dict[str, Section] = {}
        for call in self.step.calls:
            name, op = call.scope, call.op
            if name not in sections:
                forward, backward = self.ops.get(name, (None, None))
                proofs = proof.of_node(self.step, forward, backward) if forward and backward else []
                layer = repr(modules[name]) if op and name in modules else ""
                sections[name] = Section(name, op, layer, _formula(call, modules), {}, proofs)
            chips: dict[int, list[Chip]] = defaultdict(list)
            for line in call.lines:
                made = [*line.made.items(), *([parts[id(line)]] if id(line) in parts else [])]
                chips[line.statement] += [
                    Chip(n, self.tensors.add(a), "", self.stop_of[id(line)]) for n, a in made
                ]
            listing = self._listing(call, chips)
            sections[name].listings.setdefault(call.direction, []).append(listing)
        return [*sections.values()]

    def _unnamed(self) -> list[tuple[str, np.ndarray, Line]]:
        """What the model computed within a line and gave no name, such as a sum of gradients."""
        nodes = [n for n in self.nodes if not n.is_op and n.name != "x"]
        found = [(n, n.call.lines[n.line]) for n in nodes]
        return [(*next(iter(n.results.items())), at) for n, at in found if n.results is not at.made]

    def _listing(self, call: Call, chips: dict[int, list[Chip]]) -> Listing:
        """The source of a call's function, line by line."""
        function = call.function
        stops: dict[int, list[int]] = defaultdict(list)
        for line in call.lines:
            statement = function.statements[line.statement]
            for number in range(statement.first, statement.last + 1):
                stops[number].append(self.stop_of[id(line)])
        beside = {function.statements[k].last: found for k, found in chips.items()}
        beside[function.defined] = [
            Chip(n, self.tensors.add(a, n in call.owned), "", -1)
            if isinstance(a, np.ndarray)
            else Chip(n, None, str(a), -1)
            for n, a in call.arguments.items()
            if isinstance(a, np.ndarray) or is_option(a)
        ]
        rows = [
            Row(html, stops.get(number, []), beside.get(number, []))
            for number, html in enumerate(highlighted(function.source), function.first)
        ]
        file = relative(function.file)
        return Listing(function.name, file, function.first, call.direction, rows)

    def _update(self) -> dict[str, Any]:
        """Some weights of each parameter with what the update computes for them, line by line."""
        updates = [c for c in self.step.calls if c.is_update]  # the clipping is one, too
        call = next((c for c in updates if "value" in c.arguments), None)
        if call is None:  # an optimizer of the user's own
            return {"columns": [], "rows": {}, "dtype": ""}
        columns = [("before", "", call.arguments["value"])]
        for line in call.lines:
            text = call.function.statements[line.statement].text.strip()
            columns += [(name, text, a) for name, a in line.made.items()]
        _, text, after = columns.pop()
        columns += [("after", text, after), ("change", "after - before", after - columns[0][2])]
        rng, start, rows = np.random.default_rng(0), 0, {}
        for name, p in self.step.model.parameters().items():
            if not p.value.size:
                continue
            gradient = call.arguments["grad"][start : start + p.value.size]
            largest = np.argsort(-abs(np.nan_to_num(gradient)), kind="stable")[: WEIGHTS // 4]
            others = rng.permutation(p.value.size)[:WEIGHTS]
            chosen = np.sort([*dict.fromkeys([*largest, *others])][:WEIGHTS])
            numbers = np.stack([a[start + chosen] for _, _, a in columns], axis=1)
            rows[name] = {
                "shape": p.value.shape,
                "chosen": chosen.tolist(),
                "largest": int(largest[0]),
                "numbers": packed(numbers),
            }
            start += p.value.size
        dtype = str(call.arguments["value"].dtype)
        return {"columns": [(n, text) for n, text, _ in columns], "rows": rows, "dtype": dtype}

    def link(self, node: Node) -> str:
        """The address of a node of the map: the first line of its op, or its line of the model."""
        stop = self.stop_of[id(node.call.lines[node.line])]
        return f"#{node.call.scope}/{node.direction}/{stop}"

    def title(self, node: Node) -> str:
        """What the map calls a node: the layer, or the variable that a line of the model makes."""
        return node.name if node.is_op or node.name == "x" else next(iter(node.results))

    def pictures(self, node: Node) -> list[int]:
        """The arrays that the map draws for a node: y, or all gradients but those of weights; dw
        for a first layer. The facts are those of the first."""
        first = next(iter(node.results.values()))
        same = [a for a in node.results.values() if np.shape(a) == np.shape(first)]
        return [self.tensors.add(a) for a in (same if node.is_op else [first])]

    def data(self) -> dict[str, Any]:
        """For the scripts, beside the packed numbers."""
        return {
            "tensors": self.tensors.about,
            "ops": self.explained,
            "stops": self.stops,
            "update": self.update,
        }


def _stops(step: Step) -> tuple[list[tuple[str, str, int]], dict[int, int]]:
    """The stops of the walk, (scope, direction, number within these two), in order; and the number
    of each line by its id."""
    count: dict[tuple[str, str], int] = defaultdict(int)
    stops, numbers = [], {}
    for call, line in step.lines:
        where = call.scope, call.direction
        stops.append((*where, count[where]))
        numbers[id(line)] = count[where]
        count[where] += 1
    return stops, numbers


def _formula(call: Call, modules: dict[str, Any]) -> str:
    """The text at the top of an op's file or of the model's, of a module's class, or of a
    function that belongs to none of them."""
    if call.op in ops.OPS:
        return inspect.getdoc(ops.OPS[call.op]) or ""
    if call.scope == "model":
        model = type(modules[""])
        ours = model.__module__.startswith("scratchvae.")  # else the module may be a notebook
        return inspect.getdoc(inspect.getmodule(model) if ours else model) or ""
    if call.scope in modules:
        return inspect.getdoc(type(modules[call.scope])) or ""
    return call.function.doc
