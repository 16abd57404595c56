"""Models of a user's own: layers that do more than their op, odd names, sources, optimizers."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from steps import a_batch

import scratchvae as sv
from scratchvae.layers import Layer, Linear, ReLU
from scratchvae.models import MLP
from scratchvae.ops.linear import linear_backward, linear_forward
from scratchvae.ops.tanh import tanh_backward, tanh_forward
from scratchvae.xray import page, record
from scratchvae.xray.graph import graph
from scratchvae.xray.page import Content

SMALL = {"image_shape": (1, 6, 6), "latent_dim": 3}


def with_layers(**layers):
    """A small MLP with these layers in place of its own."""
    model = sv.models.build("mlp", **SMALL)
    for name, layer in layers.items():
        if name in vars(model):
            del vars(model)[name]
        setattr(model, name, layer)
    return model.to("float32")


def content_of(model):
    return Content(record(model, *a_batch(model)))


class Scaled(Linear):
    """y = (2x) w^T + b: a layer that does more than its op."""

    def forward(self, x, keep=True):
        return self._keep(linear_forward(2 * x, self.weight.value, self._bias()), keep)

    def backward(self, dy, need_dx=True):
        dx, dw, db = linear_backward(dy, self._kept(), need_dx)
        self._add(dw, db)
        return 2 * dx


class LinearTanh(Linear):
    """Two ops in one layer."""

    def forward(self, x, keep=True):
        h, first = linear_forward(x, self.weight.value, self._bias())
        y, second = tanh_forward(h)
        return self._keep((y, (first, second)), keep)

    def backward(self, dy, need_dx=True):
        first, second = self._kept()
        dx, dw, db = linear_backward(tanh_backward(dy, second), first, need_dx)
        self._add(dw, db)
        return dx


@pytest.mark.parametrize("kind", [Scaled, LinearTanh])
def test_a_right_layer_that_does_more_than_one_op_is_not_called_wrong(kind):
    model = with_layers(fc2=kind(3, 400, rng=np.random.default_rng(0)))
    assert content_of(model).wrong == []


def test_the_ops_of_a_layer_are_paired_last_in_first_out():
    model = with_layers(fc2=LinearTanh(3, 400, rng=np.random.default_rng(0)))
    nodes = {n.id: n.op for n in graph(record(model, *a_batch(model)))}
    assert nodes["fc2/forward"] == nodes["fc2/backward"] == "linear"
    assert nodes["fc2 2/forward"] == nodes["fc2 2/backward"] == "tanh"


class Spread(MLP):
    """A statement over several lines, and a helper that backward calls."""

    def encode(self, x, keep=False):
        h = x.reshape(len(x), -1)
        h = self.fc1.forward(
            h,
            keep,
        )
        h = self.relu1.forward(h, keep)
        return self.fc_mu.forward(h, keep), self.fc_logvar.forward(h, keep)

    def join(self, a, b):
        return a + b

    def backward(self):
        dlogits, dmu_kl, dlogvar_kl = self.loss_backward()
        dh = self.relu2.backward(self.fc3.backward(dlogits.reshape(len(dlogits), -1)))
        dmu, dlogvar = self.sample.backward(self.fc2.backward(dh))
        dmu = self.fc_mu.backward(self.join(dmu_kl, dmu))
        dlogvar = self.fc_logvar.backward(self.join(dlogvar_kl, dlogvar))
        self.fc1.backward(self.relu1.backward(self.join(dmu, dlogvar)), need_dx=False)


def test_a_statement_over_several_lines_is_one_stop():
    model = Spread(**SMALL, rng=np.random.default_rng(0))
    made = [r.array.shape for r in record(model, *a_batch(model)) if r.op == "model.encode"]
    assert made[:3] == [(2, 36), (2, 400), (2, 400)]


class Careful(MLP):
    """Statements in other statements, all of which are recorded."""

    def decode(self, z, keep=False):
        try:
            raise KeyError
        except KeyError:
            first = 1 * z
        finally:
            (second, _), third = (2 * z, 0), 3 * z
        with np.errstate(all="ignore"):
            if len(z):
                fourth = first + second + third - 5 * z
        return super().decode(fourth, keep)


def test_statements_within_statements_are_recorded():
    model = Careful(**SMALL, rng=np.random.default_rng(0))
    names = [r.name for r in record(model, *a_batch(model)) if r.op == "model.decode"]
    assert {"first", "second", "third", "fourth"} <= {*names}


def test_what_backward_calls_is_backward():
    model = Spread(**SMALL, rng=np.random.default_rng(0))
    step = record(model, *a_batch(model))
    assert {c.direction for c in step.calls if c.function.name == "join"} == {"backward"}
    assert Content(step).wrong == []


def test_records_come_in_the_order_in_which_lines_end():
    model = sv.models.build("mlp", **SMALL)
    records = [(r.op, r.name) for r in record(model, *a_batch(model))]
    assert records[0] == ("fc1.linear_forward", "y")
    assert records.index(("model.encode", "h")) > records.index(("fc1.linear_forward", "y"))


class InPlace(MLP):
    def encode(self, x, keep=False):
        mu, logvar = super().encode(x, keep)
        mu *= 0.5
        return mu, logvar


def test_an_array_that_is_changed_in_place_is_refused():
    model = InPlace(**SMALL, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="record: a later line changes .* in place"):
        record(model, *a_batch(model))


SOURCE = """
class M(MLP):
    def decode(self, z, keep=False):
# a comment at the margin
        return super().decode(z, keep)
"""


def test_a_model_without_a_source_file_has_a_page(tmp_path, monkeypatch):
    names = {"MLP": MLP}
    exec(SOURCE.replace("super()", "super(M, self)"), names)
    model = names["M"](**SMALL, rng=np.random.default_rng(0))
    html = page(model, *a_batch(model))
    assert "# The source of decode cannot be read." in html.replace("&#39;", "'")
    (tmp_path / "model_with_comment.py").write_text(f"from scratchvae.models import MLP\n{SOURCE}")
    monkeypatch.syspath_prepend(tmp_path)
    import model_with_comment

    model = model_with_comment.M(**SMALL, rng=np.random.default_rng(0))
    found = [r for r in record(model, *a_batch(model)) if r.op == "model.decode"]
    assert "super().decode(z, keep)" in [r.name for r in found]


class Plain(sv.optim.Optimizer):
    """Gradient descent of the user's own."""

    def update(self, step, lr):
        self.model.flat_value[...] -= lr * self.model.flat_grad


def test_an_optimizer_of_the_users_own_has_a_page_without_the_table():
    model = sv.models.build("mlp", **SMALL)
    x, eps = a_batch(model)
    html = page(model, x, eps, Plain(model, 0.1))
    assert 'href="#update' not in html and "sampled elements of gradients agree" in html


def test_clipping_without_an_update_of_ours_has_a_page():
    model = sv.models.build("mlp", **SMALL)
    x, eps = a_batch(model)
    content = Content(record(model, x, eps, Plain(model, 0.1), 1.0))
    assert content.update["rows"] == {} and content.wrong == []


@pytest.mark.parametrize(
    "name", ["update", "bce", "map", "x", "model", "a/b", "a|b", "50%", 'it"s', "toString", "sum 1"]
)
def test_a_layer_may_have_any_name(name):
    class Named(MLP):
        def decode(self, z, keep=False):
            return super().decode(vars(self)[name].forward(z, keep), keep)

        def backward(self):
            dlogits, dmu_kl, dlogvar_kl = self.loss_backward()
            dh = self.relu2.backward(self.fc3.backward(dlogits.reshape(len(dlogits), -1)))
            dz = vars(self)[name].backward(self.fc2.backward(dh))
            dmu, dlogvar = self.sample.backward(dz)
            dh = self.fc_mu.backward(dmu_kl + dmu)
            dh = dh + self.fc_logvar.backward(dlogvar_kl + dlogvar)
            self.fc1.backward(self.relu1.backward(dh), need_dx=False)

    model = Named(**SMALL, rng=np.random.default_rng(0))
    setattr(model, name, ReLU())
    content = content_of(model)
    assert content.wrong == []
    assert len({n.id for n in content.nodes}) == len(content.nodes)
    for n in content.nodes:
        assert not {*n.name} & {*'/|%"<'}
    page(model, *a_batch(model))


class NotAnalytic(Layer):
    """log(1 + exp(x)) by a function that NumPy has for real numbers alone, and odd variables."""

    def forward(self, x, keep=True):
        nothing = x[:, :0]
        names = np.array(["a", "b"])
        y = np.logaddexp(0, x)
        return self._keep((y, (x, nothing, names)), keep)

    def backward(self, dy):
        x, _, _ = self._kept()
        return dy / (1 + np.exp(-x))


def test_without_the_complex_step_the_difference_is_the_judge():
    model = with_layers(relu2=NotAnalytic())
    content = content_of(model)
    assert content.wrong == []
    assert np.isnan(content.whole[0].samples[0].complex_step)
    page(model, *a_batch(model))


@pytest.mark.parametrize("wrong", [None, "tiny", MLP])
def test_what_is_no_model_is_refused(wrong):
    with pytest.raises(TypeError, match="record: model must be a Model, got"):
        record(wrong, np.zeros((2, 1, 28, 28), "float32"))


def test_what_are_no_images_and_no_optimizer_is_refused():
    model = sv.models.build("mlp", **SMALL)
    with pytest.raises(TypeError, match="record: x must be a NumPy or CuPy array, got None"):
        record(model, None)
    with pytest.raises(TypeError, match="record: optimizer must be an Optimizer, got 'adam'"):
        record(model, *a_batch(model), "adam")


@pytest.mark.parametrize("scale", [1e-40, 30.0, 1e200])
def test_weights_of_any_size_have_a_page(scale):
    model = sv.models.build("ae", **SMALL, dtype="float64")
    model.flat_value *= scale
    content = content_of(model)
    assert content.wrong == [] or scale == 1e200
    page(model, *a_batch(model))
    assert_array_equal(content.step.x, a_batch(model)[0])
