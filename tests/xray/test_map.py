"""The map: what an op's input is, by memory, and where each op is drawn."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from steps import QUICK_FIRST, a_batch, a_model, a_step

from scratchvae.xray.graph import graph
from scratchvae.xray.record import record


def sources(nodes):
    return {node.id: [source.id for source in node.sources] for node in nodes}


def test_mlp_has_two_roads_to_mu_and_logvar_and_the_sums_where_they_meet():
    found = sources(graph(a_step("mlp")))
    assert found["sample/forward"] == ["fc_mu/forward", "fc_logvar/forward"]
    assert found["elbo/forward"] == ["bce/forward", "kl/forward"]
    assert found["bce/forward"] == ["fc3/forward", "x/forward"]
    assert found["elbo/backward"] == ["elbo/forward"]  # the turn of the U
    assert found["fc_mu/backward"] == ["sum 1/backward"]
    assert found["sum 1/backward"] == ["kl/backward", "sample/backward"]
    assert found["sum 3/backward"] == ["fc_mu/backward", "fc_logvar/backward"]
    assert found["relu1/backward"] == ["sum 3/backward"]


def test_skip_has_six_sums_in_each_direction():
    nodes = graph(a_step("skip"))
    found = sources(nodes)
    forward = [n for n in nodes if n.op == "+" and n.direction == "forward"]
    assert [found[n.id][1] for n in forward] == [
        *(f"encoder.{i}.pool/forward" for i in (4, 3, 2, 1, 0)), "x/forward",
    ]  # fmt: skip
    backward = [n for n in nodes if n.op == "+" and n.direction == "backward"]
    assert [found[n.id][1] for n in backward] == [f"decoder.{i}.conv1/backward" for i in range(5)]


def test_a_reshape_that_copies_is_no_node():
    assert sources(graph(a_step("tiny")))["relu3/backward"] == ["deconv1/backward"]


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_sums_are_sums(name):
    for node in graph(a_step(name)):
        if node.op == "+":
            first, second = node.sources
            found = next(iter(node.results.values()))
            parts = [
                [a.reshape(found.shape) for a in n.results.values() if a.size == found.size]
                for n in (first, second)
            ]
            assert any(np.array_equal(a + b, found) for a in parts[0] for b in parts[1])


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_every_op_is_drawn_once_and_backward_beside_its_forward(name):
    step = a_step(name)
    nodes = graph(step)
    cells = {(n.direction, n.row, n.lane) for n in nodes}
    assert len(cells) == len(nodes) == len({n.id for n in nodes})
    ops = [c for c in step.calls if c.op and not (c.caller and c.caller.op) and c.scope != "update"]
    assert len([n for n in nodes if n.op not in ("", "+")]) == len(ops)
    forward = {n.name: n for n in nodes if n.direction == "forward"}
    for node in nodes:
        if node.direction == "forward":
            assert all(source.row < node.row for source in node.sources)
        elif node.name in forward:
            twin = forward[node.name]
            assert (node.row, node.lane) == (twin.row, twin.lane)


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_all_but_the_image_has_a_source(name):
    assert [n.id for n in graph(a_step(name)) if not n.sources] == ["x/forward"]


def test_free_bits_add_a_second_kl_and_a_second_elbo():
    model = a_model("mlp")
    model.free_bits = 0.1
    nodes = graph(record(model, *a_batch(model)))
    names = {n.id for n in nodes}
    assert {"kl/forward", "kl_free_bits/forward", "elbo 2/forward"} <= names
    assert_array_equal([n.row >= 0 for n in nodes], True)
