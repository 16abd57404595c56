"""No gradient test passes with dx = 0. `python tests/mutations/zeroed.py` prints the same."""

from pathlib import Path

import pytest
from test_mutations import in_other_processes
from zeroed import CASES, GRADIENTS, LAYERS

from scratchvae import layers, ops
from scratchvae.ops import CASES as OPS


@pytest.fixture(scope="session")
def passing(request):
    asked = [item for item in request.session.items if "passing" in item.fixturenames]
    names = [item.callspec.params["name"] for item in asked]
    return in_other_processes(names, Path(__file__).with_name("zeroed.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_gradient_of_zero_fails(passing, name):
    assert not passing[name], f"with this gradient zero: {passing[name]}"


def test_every_op_and_every_layer_with_parameters_is_here():
    names = {name.removesuffix("_forward") for name in ops.__all__ if name.endswith("_forward")}
    assert set(OPS) == names
    affine = vars(layers)["_WithWeights"]
    public = {name: c for name, c in vars(layers).items() if not name.startswith("_")}
    classes = {name: c for name, c in public.items() if isinstance(c, type)}
    assert set(LAYERS) == {name for name, c in classes.items() if issubclass(c, affine)}
    for op, (case, *_) in OPS.items():
        assert len(GRADIENTS.get(op, "x")) == len(case.shapes) - len(case.constants)
