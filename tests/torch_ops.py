"""PyTorch's function for each op, for golden/make.py and test_parity.py.

Arrays have the order of ours, and options have the names of ours. An op is looked up by its name in
torch.nn.functional, then in torch; DIFFERENT has the ops with another name or reduction there.
"""

import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal, Normal, kl_divergence


def per_image(loss):
    """Our losses give a number per image, PyTorch's one number for all."""

    def losses(output, target, reduction="sum"):
        pairs = zip(output, target, strict=True)
        return torch.stack([loss(o, t, reduction=reduction) for o, t in pairs])

    return losses


def kl(mu, logvar):
    each = kl_divergence(Normal(mu, torch.exp(logvar).sqrt()), Normal(0.0, 1.0))
    return each.reshape(len(mu), -1).sum(1)


def kl_free_bits(mu, logvar, free_bits):
    each = kl_divergence(Normal(mu, torch.exp(logvar).sqrt()), Normal(0.0, 1.0))
    floor = torch.full_like(each, free_bits)
    return torch.where(each.mean(0) > floor, each, floor).reshape(len(mu), -1).sum(1)


def reparameterize(mu, logvar, eps):
    """From the covariance, by Cholesky: a logvar used as standard deviation would be noticed."""
    q = MultivariateNormal(mu, covariance_matrix=torch.diag_embed(torch.exp(logvar)))
    return mu + (q.scale_tril @ eps[..., None])[..., 0]


def mean_logvar(x, eps=1e-6):
    x = x.flatten(1)
    return torch.stack([x.mean(1), torch.log(torch.var(x, 1, unbiased=False) + eps)])


def elbo(reconstruction, kl, beta):
    """total, reconstruction, kl, of which the first is differentiated."""
    total = torch.mean(torch.add(reconstruction, kl, alpha=beta))
    return torch.stack([total, reconstruction.mean(), kl.mean()])


def batch_norm_leaky_relu(
    x, running_mean, running_var, w, b, training=False, momentum=0.1, eps=1e-5, negative_slope=0.01
):
    y = F.batch_norm(x, running_mean, running_var, w, b, training, momentum, eps)
    return F.leaky_relu(y, negative_slope)


DIFFERENT = {
    "batch_norm_leaky_relu": batch_norm_leaky_relu,
    "upsample_nearest": lambda x, scale_factor: F.interpolate(x, scale_factor=scale_factor),
    "bce": per_image(F.binary_cross_entropy_with_logits),
    "mse": per_image(F.mse_loss),
    "kl": kl,
    "kl_free_bits": kl_free_bits,
    "reparameterize": reparameterize,
    "mean_logvar": mean_logvar,
    "elbo": elbo,
}


def torch_op(op):
    """PyTorch's function for the op."""
    for found in (DIFFERENT.get(op), getattr(F, op, None), getattr(torch, op, None)):
        if found is not None:
            return found
    raise LookupError(f"PyTorch has no function {op}: write one in {__file__}, in DIFFERENT")
