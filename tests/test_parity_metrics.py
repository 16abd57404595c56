"""-ELBO and importance sampling of `conv` on binary images, compared with PyTorch.

PyTorch's side follows the definitions, with densities of torch.distributions and layers of
torch.nn.functional; it uses no identity of likelihood.py.
"""

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.data import binarize
from scratchvae.evaluation.likelihood import importance_curve, neg_elbo

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="pip install -e '.[parity]'")
F = torch.nn.functional
Normal = torch.distributions.Normal

SAMPLES, IMAGES = 40, 6
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}  # nats


def decode(w, z):
    h = F.relu(F.linear(z, w["fc2.weight"], w["fc2.bias"]))
    h = F.relu(F.linear(h, w["fc3.weight"], w["fc3.bias"])).view(-1, 64, 7, 7)
    h = F.relu(F.conv_transpose2d(h, w["deconv1.weight"], w["deconv1.bias"], 2, 1))
    return F.conv_transpose2d(h, w["deconv2.weight"], w["deconv2.bias"], 2, 1)


def posterior(w, x):
    h = F.relu(F.conv2d(x, w["conv1.weight"], w["conv1.bias"], 2, 1))
    h = F.relu(F.conv2d(h, w["conv2.weight"], w["conv2.bias"], 2, 1)).flatten(1)
    h = F.relu(F.linear(h, w["fc1.weight"], w["fc1.bias"]))
    mu, logvar = (
        F.linear(h, w[f"{head}.weight"], w[f"{head}.bias"]) for head in ("fc_mu", "fc_logvar")
    )
    return Normal(mu, torch.exp(logvar / 2))


def log_p(w, x, z):
    """log p(x|z) of each z: (M,)."""
    x = x.expand(len(z), -1, -1, -1)
    return -F.binary_cross_entropy_with_logits(decode(w, z), x, reduction="none").sum((1, 2, 3))


@pytest.fixture(params=TOLERANCE)
def case(request):
    """Our model, with codes far from the prior, images, PyTorch's weights and images."""
    rng = np.random.default_rng(0)
    model = sv.models.build("conv", dtype=request.param)
    for head in (model.fc_mu, model.fc_logvar):
        head.weight.value = 20 * head.weight.value
    images = binarize(rng.integers(0, 256, (IMAGES, 28, 28), np.uint8), rng)
    weights = {name: torch.tensor(a) for name, a in model.state_dict().items()}
    x = torch.tensor(images[:, None] // 255).to(weights["fc1.bias"].dtype)
    return model, images, weights, x


def check(found, values, dtype):
    values = np.array(values)
    tolerance = TOLERANCE[str(dtype)]
    assert found.value == pytest.approx(values.mean(), abs=tolerance, rel=0)
    error = values.std(ddof=1) / len(values) ** 0.5
    assert found.standard_error == pytest.approx(error, abs=tolerance, rel=0)


def test_neg_elbo(case, engine):
    host, images, w, x = case
    model = host.to("cuda") if engine.startswith("cuda") else host
    found = neg_elbo(model, images, np.random.default_rng(1))
    eps = np.random.default_rng(1).standard_normal((IMAGES, 20), model.dtype)
    q = posterior(w, x)
    z = q.loc + q.scale * torch.tensor(eps)
    kl = torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    assert kl.min() > 1
    error = torch.stack([log_p(w, x[n], z[n : n + 1])[0] for n in range(IMAGES)])
    check(found, (kl - error).tolist(), model.dtype)


def test_importance_curve(case, engine):
    host, images, w, x = case
    model = host.to("cuda") if engine.startswith("cuda") else host
    at = (1, 7, SAMPLES)
    curve = importance_curve(model, images, at, np.random.default_rng(1), chunk_size=16)
    eps = np.random.default_rng(1).standard_normal((IMAGES, SAMPLES, 20), model.dtype)
    q, log_w = posterior(w, x), []
    for n in range(IMAGES):
        of_image = Normal(q.loc[n], q.scale[n])
        z = q.loc[n] + q.scale[n] * torch.tensor(eps[n])
        prior = Normal(0.0, 1.0).log_prob(z).sum(1)
        log_w.append(log_p(w, x[n], z) + prior - of_image.log_prob(z).sum(1))
    for k in at:
        values = [np.log(k) - torch.logsumexp(row[:k].double(), 0).item() for row in log_w]
        check(curve[k], values, model.dtype)
    assert curve[1].value - curve[SAMPLES].value > 1
