"""The map of a recorded step: which op's result goes into which op, and where each is drawn.

The step is drawn as a U. Forward descends on the left, backward climbs on the right; each backward
is as high as its forward. An edge is found by memory: an op whose input lies in the memory of an
earlier result got it from there. What no op returned was made by a line of the model, such as the
sum where two paths meet; that line becomes a node of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .record import Call, Line, Step


@dataclass(eq=False)
class Node:
    """An op, or a line of the model that computes; in one direction."""

    name: str  # unique in its direction: "conv1", "sum 2"
    op: str  # "conv2d"; "+" for a sum; "" for another line of the model
    direction: str  # "forward" or "backward"
    call: Call  # the op's, or for a line that of its function
    line: int  # position among the call's lines, for a line of the model
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    results: dict[str, np.ndarray] = field(default_factory=dict)
    sources: list[Node] = field(default_factory=list)
    origins: dict[str, Node] = field(default_factory=dict)  # of the inputs by name
    row: int = 0
    lane: int = 0

    @property
    def id(self) -> str:
        return f"{self.name}/{self.direction}"

    @property
    def is_op(self) -> bool:
        """False for a line of the model and for the images."""
        return self.op not in ("", "+")


def graph(step: Step) -> list[Node]:
    """The nodes of a step, in the order in which they ran, arranged on the map."""
    found = _Finder(step)
    for call in step.calls:
        if call.op and not call.is_update and not (call.caller and call.caller.op):
            found.add_op(call)
    _arrange(found.nodes)
    return found.nodes


class _Finder:
    """Collects the nodes of a step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.nodes = [Node("x", "", "forward", step.calls[0], 0, results={"x": step.x})]
        self.count = {"sum": 0, "line": 0}

    def add_op(self, call: Call) -> None:
        """Add the node of an op's forward or backward, after the lines that made its inputs."""
        forward = [n.name for n in self._nodes_of(call, "forward")]
        done = len(self._nodes_of(call, call.direction))
        if call.direction == "backward":  # the last forward that has no backward yet
            name = forward[-1 - done] if done < len(forward) else call.scope
        else:
            name = f"{call.scope} {done + 1}" if done else call.scope
        inputs = {n: a for n, a in call.arguments.items() if isinstance(a, np.ndarray)}
        node = Node(name, call.op, call.direction, call, 0, inputs, call.result)
        for n, a in inputs.items():
            origin = self.source(a, call.caller, call.begun) if n not in call.owned else None
            if origin and a.ndim:
                node.origins[n] = origin
        node.sources = [*dict.fromkeys(node.origins.values())]
        if call.direction == "backward" and not inputs:  # dtotal is the number 1: the step turns
            node.sources = [n for n in self.nodes if n.direction == "forward"][-1:]
        self.nodes.append(node)

    def _nodes_of(self, call: Call, direction: str) -> list[Node]:
        """The nodes of an op's earlier calls in the same scope."""
        return [n for n in self.nodes if n.call.scope == call.scope and n.direction == direction]

    def source(self, a: np.ndarray, caller: Call | None, begun: Line | None) -> Node | None:
        """The node that made `a`, which a line of `caller` read or passed on; None for noise."""
        for node in reversed(self.nodes):
            if any(np.may_share_memory(a, result) for result in node.results.values()):
                return node
        if np.may_share_memory(a, self.step.eps):
            return None
        for call, line in self.step.lines:  # a variable of a function of the model
            if not call.op and any(np.may_share_memory(a, made) for made in line.made.values()):
                return self.add_line(a, call, line)
        return self.add_line(a, caller, begun) if caller and begun else None  # a part of the line

    def add_line(self, a: np.ndarray, call: Call, line: Line) -> Node | None:
        """The line of the model that made `a`, as a node; None if it read nothing known."""
        read = [(self.source(b, None, None), b) for b in line.read if b is not a]
        near = [(node, b) for node, b in read if node]
        near += [
            (node, result) for node in self.nodes for result in node.results.values()
            if node.call.begun is line
        ]  # fmt: skip
        if not near:
            return None
        same = [(node, b.reshape(a.shape)) for node, b in near if b.size == a.size]
        if len(same) == 1 and equal(same[0][1], a):
            return same[0][0]  # a reshape that had to copy
        terms = _sum(a, same)
        kind = "sum" if terms else "line"
        self.count[kind] += 1
        if any(np.may_share_memory(a, made) for made in line.made.values()):
            results = line.made
        else:  # a part of the line, which has no name of its own: that of its terms
            names = {
                n for node, b in terms for n, r in node.results.items() if np.may_share_memory(r, b)
            }
            results = {names.pop() if len(names) == 1 else kind: a}
        node = Node(
            f"{kind} {self.count[kind]}", "+" if terms else "", call.direction, call,
            call.lines.index(line), {}, results,
            [*dict.fromkeys(node for node, _ in terms or near)],
        )  # fmt: skip
        self.nodes.append(node)
        return node


def _sum(a: np.ndarray, same: list[tuple[Node, np.ndarray]]) -> list[tuple[Node, np.ndarray]]:
    """The two nodes whose arrays, of the shape of `a`, add up to it exactly; [] if none do."""
    for k, (first, b) in enumerate(same):
        for second, other in same[k + 1 :]:
            if equal(b + other, a):
                return [(first, b), (second, other)]
    return []


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same numbers."""
    return np.array_equal(a, b, equal_nan=True)


def _arrange(nodes: list[Node]) -> None:
    """Set the row and the lane of each node. A forward is below its lowest source; a backward is in
    the row of its forward; a line of the model in backward is below the node that it leads to."""
    forward = {n.name: n for n in nodes if n.direction == "forward"}
    taken: set[tuple[str, int, int]] = set()

    def put(node: Node, row: int, lane: int) -> None:
        while (node.direction, row, lane) in taken:
            lane += 1
        node.row, node.lane = row, lane
        taken.add((node.direction, row, lane))

    for node in forward.values():
        lowest = max((n.row for n in node.sources), default=-2)
        put(node, lowest + 2, node.sources[0].lane if node.sources else 0)
    lines = [n for n in nodes if n.direction == "backward" and n.name not in forward]
    for node in nodes:
        if node.direction == "backward" and node not in lines:
            put(node, forward[node.name].row, forward[node.name].lane)
    for node in reversed(lines):
        after = next((n for n in nodes if node in n.sources), nodes[-1])
        put(node, after.row + (after not in lines), after.lane)
