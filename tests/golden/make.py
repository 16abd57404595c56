"""Compute the golden values with PyTorch: `python tests/golden/make.py` writes the files,
`--check` compares with what is there and writes nothing.

A second opinion must not ask the first: nothing here comes from scratchvae, every forward is
PyTorch's own function, and every gradient autograd's.
"""

import argparse
import datetime
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal, Normal, kl_divergence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch_models
from golden import cases, values


def per_image(loss):
    """Ours give one number for each image, PyTorch's one for all."""

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
    """From the covariance, by Cholesky: whoever takes logvar for a standard deviation, shows."""
    q = MultivariateNormal(mu, covariance_matrix=torch.diag_embed(torch.exp(logvar)))
    return mu + (q.scale_tril @ eps[..., None])[..., 0]


def mean_logvar(x, eps):
    x = x.flatten(1)
    return torch.stack([x.mean(1), torch.log(torch.var(x, 1, unbiased=False) + eps)])


def elbo(reconstruction, kl, beta):
    """total, reconstruction, kl, of which the first is differentiated."""
    total = torch.mean(torch.add(reconstruction, kl, alpha=beta))
    return torch.stack([total, reconstruction.mean(), kl.mean()])


def then_leaky_relu(function):
    return lambda *arguments: F.leaky_relu(function(*arguments[:-1]), arguments[-1])


PYTORCH = {
    "conv2d": F.conv2d,
    "conv_transpose2d": F.conv_transpose2d,
    "linear": F.linear,
    "batch_norm": F.batch_norm,
    "conv2d_leaky_relu": then_leaky_relu(F.conv2d),
    "conv_transpose2d_leaky_relu": then_leaky_relu(F.conv_transpose2d),
    "linear_leaky_relu": then_leaky_relu(F.linear),
    "batch_norm_leaky_relu": then_leaky_relu(F.batch_norm),
    "max_pool2d": F.max_pool2d,
    "avg_pool2d": F.avg_pool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "upsample_nearest": lambda x, scale: F.interpolate(x, scale_factor=scale, mode="nearest"),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "bce": per_image(F.binary_cross_entropy_with_logits),
    "mse": per_image(F.mse_loss),
    "kl": kl,
    "kl_free_bits": kl_free_bits,
    "reparameterize": reparameterize,
    "mean_logvar": mean_logvar,
    "elbo": elbo,
}


def op_results(case):
    op, inputs, options = cases.OPS[case]
    tensors = {n: None if a is None else torch.tensor(a) for n, a in inputs.items()}
    moving = {n: t for n, t in tensors.items() if t is not None and n not in cases.CONSTANT}
    for tensor in moving.values():
        tensor.requires_grad_()
    y = PYTORCH[op](*tensors.values(), *options)
    differentiated = y[0] if op == "elbo" else y
    dy = torch.tensor(cases.output_gradient(case, tuple(differentiated.shape)))
    gradients = torch.autograd.grad(differentiated, list(moving.values()), dy)
    results = {"y": y.detach()}
    results |= {f"d{name}": g for name, g in zip(moving, gradients, strict=True)}
    # PyTorch writes the new statistics into its arguments.
    results |= {n: t for n, t in tensors.items() if n.startswith("running_")}
    return {what: t.contiguous().numpy() for what, t in results.items()}


def model_results(case):
    name, *_, options, training = cases.MODELS[case]
    model = torch_models.MODELS[name](**options).double().train(training)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    model.load_state_dict({n: torch.tensor(cases.weight(n, s)) for n, s in shapes.items()})
    losses = model.losses(*map(torch.tensor, cases.batch(case)))
    losses[0].backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    buffers = {name: b.numpy() for name, b in model.named_buffers()}
    return values.model_results([loss.item() for loss in losses], gradients, buffers)


def parameters():
    flat = torch.tensor(cases.start())
    sizes = [torch.Size(shape).numel() for shape in cases.SHAPES.values()]
    shapes = zip(flat.split(sizes), cases.SHAPES.values(), strict=True)
    return [torch.nn.Parameter(part.reshape(shape).clone()) for part, shape in shapes]


def set_gradients(parameters, flat):
    sizes = [p.numel() for p in parameters]
    for p, part in zip(parameters, torch.tensor(flat).split(sizes), strict=True):
        p.grad = part.reshape(p.shape).clone()


def joined(tensors):
    return torch.cat([t.detach().ravel() for t in tensors])


def optimizer_results(case):
    name, options = cases.OPTIMIZERS[case]
    moving = parameters()
    optimizer = getattr(torch.optim, name)(moving, **options)
    history = []
    for step in range(cases.STEPS):
        set_gradients(moving, cases.gradient(step))
        optimizer.step()
        history.append(joined(moving))
    return {"values after each step": torch.stack(history).numpy()}


def clipping_results(case):
    moving = parameters()
    set_gradients(moving, cases.gradient(0))
    norm = torch.nn.utils.clip_grad_norm_(moving, cases.CLIPPING[case])
    return {"norm": norm.reshape(1).numpy(), "gradients": joined(p.grad for p in moving).numpy()}


def compute():
    """group -> case -> what -> array."""
    return {
        "ops": {case: op_results(case) for case in cases.OPS},
        "models": {case: model_results(case) for case in cases.MODELS},
        "optimizers": {
            **{case: optimizer_results(case) for case in cases.OPTIMIZERS},
            **{case: clipping_results(case) for case in cases.CLIPPING},
        },
    }


def save(computed):
    metadata = {
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": values.COMMAND,
    }
    for group, results in computed.items():
        values.write(group, results, metadata)
        file = values.path(group)
        print(f"wrote {file}: {len(results)} cases, {file.stat().st_size:,} bytes")


def check(computed):
    """Exits with 1 where a file and PyTorch disagree."""
    disagree = False
    for group, results in computed.items():
        stored, metadata = values.read(group)
        names = [{(c, w) for c in each for w in each[c]} for each in (stored, results)]
        if names[0] != names[1]:
            print(f"{group}: other cases than in the file: {sorted(names[0] ^ names[1])}")
            disagree = True
            continue
        error, case, what = max(
            (error, case, what)
            for case in stored
            for what, error in values.errors(stored[case], results[case]).items()
        )
        print(
            f"{group}: {len(stored)} cases, made with torch {metadata['torch']} on "
            f"{metadata['date']}; torch {torch.__version__} differs by {error:.1e} at most, "
            f"in {case}/{what}; allowed {values.TOLERANCE[group]:.0e}"
        )
        disagree |= not error <= values.TOLERANCE[group]
    return int(disagree)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--check", action="store_true", help="compare with the files, do not write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums depend on how many threads share them
    computed = compute()
    sys.exit(check(computed) if arguments.check else save(computed))


if __name__ == "__main__":
    main()
