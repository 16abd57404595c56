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
from .record import Call, Step, record
from .source import highlighted, relative, sources
from .tensors import SMALL, Tensors, packed

HERE = Path(__file__).parent
SCRIPTS = ("tensors", "map", "numbers", "terms", "why", "update", "walk")  # .js
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
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    step = record(model, x, eps, optimizer, max_norm)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    content = Content(step)
    return environment.get_template("page.html").render(
        title=title or type(model).__name__,
        images=images,
        version=__version__,
        styles=[_text(f"{name}.css") for name in STYLES],
        scripts=[_text(f"{name}.js") for name in SCRIPTS],
        step=step,
        content=content,
        data=json.dumps(content.data(), allow_nan=False).replace("</", "<\\/"),
        exact=exact,
        on_axis=on_axis,
        limit=proof.TOLERANCE,
    )


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def exact(number: Any) -> str:
    """As few digits as tell the number from its neighbours, in its dtype."""
    return str(number)


def on_axis(error: float) -> str:
    """Where an error stands on a logarithmic axis from 1e-17 (at 0) to 1 (at 136)."""
    return f"{136 * (np.log10(min(max(error, 1e-17), 1.0)) / 17 + 1):.1f}"


class Row(NamedTuple):
    """A line of source text."""

    html: str
    stops: list[int]  # the stops of the walk at this line, counted within page and direction
    made: list[tuple[str, int]]  # (name, tensor) at a statement's last line


class Listing(NamedTuple):
    """A function as it stands in its file, with the arrays that each line made."""

    title: str
    file: str
    first: int
    direction: str
    rows: list[Row]


class Place(NamedTuple):
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
        self.parameters = {n: p.value for n, p in step.model.parameters().items()}
        backward = {n.name: n for n in self.nodes if n.direction == "backward"}
        self.ops = {
            n.name: (n, backward.get(n.name))
            for n in self.nodes
            if n.direction == "forward" and n.is_op
        }
        self.explained = {name: self._explained(*both) for name, both in self.ops.items()}
        self.stops: list[tuple[str, str, int]] = []
        self.places = self._places()
        self.sources = {op: sources(op) for op in dict.fromkeys(p.op for p in self.places if p.op)}
        self.whole = proof.of_step(step)
        self.wrong = [p.name for p in self.places if not all(item.holds for item in p.proofs)]
        self.wrong += [item.tensor for item in self.whole if not item.holds]
        self.update = self._update()

    def _explained(self, forward: Node, backward: Node | None = None) -> dict[str, Any]:
        """An op for why.js: its options, and the numbers of its tensors by name."""
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
        if backward:
            dy, *_ = backward.call.arguments.values()
            tensors["dy"] = self.tensors.with_numbers(dy)
            for name, a in backward.results.items():
                weight = name.removeprefix("d") in call.owned
                small = not weight or a.size <= GRADIENT
                add = self.tensors.with_numbers if small else self.tensors.add
                tensors[name] = add(a, weight)
        options = {
            n: a for n, a in call.arguments.items() if isinstance(a, bool | int | float | tuple)
        }
        return {"op": forward.op, "options": options, "tensors": tensors}

    def _places(self) -> list[Place]:
        """A page for every place, in the order in which the step enters it; also fills `stops`."""
        rows: dict[Call, dict[int, tuple[list[int], list[tuple[str, int]]]]] = {}
        count: dict[tuple[str, str], int] = defaultdict(int)
        for call, line in self.step.lines:
            where = call.place, call.direction
            stops, made = rows.setdefault(call, {}).setdefault(line.statement, ([], []))
            self.stops.append((*where, count[where]))
            stops.append(count[where])
            count[where] += 1
            made += [(name, self.tensors.add(a)) for name, a in line.made.items()]
        layers = {"": self.step.model} | dict(named_modules(self.step.model))
        places: dict[str, Place] = {}
        for call in self.step.calls:
            name, op = call.place, call.op
            if name not in places:
                formula = _formula(call, layers)
                forward, backward = self.ops.get(name, (None, None))
                proofs = proof.of_node(self.step, forward, backward) if forward and backward else []
                layer = repr(layers[name]) if op and name in layers else ""
                places[name] = Place(name, op, layer, formula, {}, proofs)
            listing = _listing(call, rows.get(call, {}))
            places[name].listings.setdefault(call.direction, []).append(listing)
        return [*places.values()]

    def _update(self) -> dict[str, Any]:
        """Some weights of each parameter with what the update computes for them, line by line."""
        call = self.step.calls[-1]
        columns = [("before", "", call.arguments["value"])]
        for line in call.lines:
            text = call.function.statements[line.statement].text.strip()
            columns += [(name, text, a) for name, a in line.made.items()]
        rng, start, rows = np.random.default_rng(0), 0, {}
        for name, value in self.parameters.items():
            gradient = call.arguments["grad"][start : start + value.size]
            largest = np.argsort(-abs(np.nan_to_num(gradient)), kind="stable")[: WEIGHTS // 4]
            others = rng.permutation(value.size)[:WEIGHTS]
            chosen = np.sort([*dict.fromkeys([*largest, *others])][:WEIGHTS])
            numbers = np.stack([a[start + chosen] for _, _, a in columns], axis=1)
            rows[name] = {
                "shape": value.shape,
                "chosen": chosen.tolist(),
                "largest": int(largest[0]),
                "numbers": packed(numbers),
            }
            start += value.size
        dtype = str(call.arguments["value"].dtype)
        return {"columns": [(n, text) for n, text, _ in columns], "rows": rows, "dtype": dtype}

    def link(self, node: Node) -> str:
        """The address of a node of the map: the first line of its op, or its line of the model."""
        stop = 0
        if not node.is_op:
            line = node.call.lines[node.line]
            same = [
                each for call, each in self.step.lines
                if (call.place, call.direction) == (node.call.place, node.direction)
            ]  # fmt: skip
            stop = same.index(line)
        return f"#{node.call.place}/{node.direction}/{stop}"

    def title(self, node: Node) -> str:
        """What the map calls a node: the layer, or the variable that a line of the model makes."""
        return node.name if node.is_op or node.name == "x" else next(iter(node.results))

    def tensor(self, node: Node) -> int:
        """The array that the map draws for a node: y, or dx; dw for a first layer."""
        return self.tensors.add(next(iter(node.results.values())))

    def data(self) -> dict[str, Any]:
        """For the scripts, beside the packed numbers."""
        return {
            "tensors": self.tensors.about,
            "ops": self.explained,
            "stops": self.stops,
            "update": self.update,
        }


def _listing(call: Call, rows: dict[int, tuple[list[int], list[tuple[str, int]]]]) -> Listing:
    """The source of a call's function, line by line."""
    function = call.function
    by_line: dict[int, list[int]] = defaultdict(list)
    last: dict[int, list[tuple[str, int]]] = {}
    for k, (stops, made) in rows.items():
        statement = function.statements[k]
        for number in range(statement.first, statement.last + 1):
            by_line[number] += stops
        last[statement.last] = made
    lines = [
        Row(html, by_line.get(number, []), last.get(number, []))
        for number, html in enumerate(highlighted(function.source), function.first)
    ]
    return Listing(function.name, relative(function.file), function.first, call.direction, lines)


def _formula(call: Call, modules: dict[str, Any]) -> str:
    """The text at the top of an op's file or of the model's, of a module's class, or of a
    function that belongs to none of them."""
    if call.op in ops.OPS:
        return inspect.getdoc(ops.OPS[call.op]) or ""
    if call.place == "model":
        return inspect.getdoc(inspect.getmodule(type(modules[""]))) or ""
    if call.place in modules:
        return inspect.getdoc(type(modules[call.place])) or ""
    return call.function.doc
