"""A whole variational autoencoder in one file, with NumPy alone
================================================================

This is the model `mlp` of this repository: a test holds one step of it equal to a step of `mlp`.
The loss is the -ELBO in nats per image (docs/elbo.md): -log p(x|z) for one z ~ q(z|x), plus
KL(q(z|x) || N(0, I)), both summed over an image and averaged over the batch. An
epoch takes about ten seconds.

.. code-block:: bash

    python examples/minimal_vae.py                       # MNIST, as examples/mnist_vae.py stored it
    python examples/minimal_vae.py --data-dir FOLDER     # or from a folder with the IDX files
"""

import argparse
import gzip
import os
import sys
from pathlib import Path

import numpy as np

LAYERS = {  # name: (inputs, outputs)
    "fc1": (784, 400), "fc_mu": (400, 20), "fc_logvar": (400, 20), "fc2": (20, 400),
    "fc3": (400, 784),
}  # fmt: skip
BATCH_SIZE, LR, BETA1, BETA2, EPSILON = 128, 1e-3, 0.9, 0.999, 1e-8
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scratchvae/mnist"


def initial_weights(rng):
    """Weights (outputs, inputs) and biases (outputs,), uniform within 1 / sqrt(inputs)."""
    params = {}
    for name, (inputs, outputs) in LAYERS.items():
        for kind, shape in (("weight", (outputs, inputs)), ("bias", outputs)):
            values = rng.uniform(-1, 1, shape) / np.sqrt(inputs)
            params[f"{name}.{kind}"] = values.astype("float32")
    return params


# %%
# A layer, forward and backward.
def linear(params, name, x):
    """(N, inputs) -> (N, outputs)."""
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def linear_backward(params, grads, name, x, dy):
    """Store the gradients of a layer's weight and bias; return dx."""
    grads[f"{name}.weight"] = dy.T @ x  # assigned: each layer is used once
    grads[f"{name}.bias"] = dy.sum(axis=0)
    return dy @ params[f"{name}.weight"]


# %%
# The model and its loss.
def forward(params, x, eps):
    """The losses (reconstruction, KL), means over the batch, and what backward needs.

    x (N, 784) in [0, 1], eps (N, 20) standard normal.
    """
    h1 = np.maximum(linear(params, "fc1", x), 0)  # (N, 400)
    mu, logvar = linear(params, "fc_mu", h1), linear(params, "fc_logvar", h1)  # (N, 20)
    sigma = np.exp(logvar / 2)
    z = mu + sigma * eps  # z ~ N(mu, sigma^2): the reparameterization
    h2 = np.maximum(linear(params, "fc2", z), 0)  # (N, 400)
    logits = linear(params, "fc3", h2)  # (N, 784)

    e = np.exp(-np.abs(logits))  # at most 1: nothing overflows
    reconstruction = (np.maximum(logits, 0) + np.log1p(e) - x * logits).sum() / len(x)
    kl = -0.5 * (1 + logvar - mu**2 - sigma**2).sum() / len(x)
    probabilities = np.where(logits > 0, 1, e) / (1 + e)  # sigmoid(logits)
    return (reconstruction, kl), (x, h1, mu, sigma, eps, z, h2, probabilities)


# %%
# The gradients.
def backward(params, cache):
    """The gradient of reconstruction + KL by every parameter: forward, read in reverse."""
    x, h1, mu, sigma, eps, z, h2, probabilities = cache
    N, grads = len(x), dict.fromkeys(params)  # the names; the gradients follow
    dlogits = (probabilities - x) / N
    dh2 = linear_backward(params, grads, "fc3", h2, dlogits)
    dh2 = dh2 * (h2 > 0)  # backward of ReLU
    dz = linear_backward(params, grads, "fc2", z, dh2)

    # mu and logvar reach the loss on two paths: through z and through the KL term.
    dmu = dz + mu / N
    dlogvar = dz * eps * sigma / 2 + (sigma**2 - 1) / (2 * N)

    dh1 = linear_backward(params, grads, "fc_mu", h1, dmu)
    dh1 = dh1 + linear_backward(params, grads, "fc_logvar", h1, dlogvar)
    dh1 = dh1 * (h1 > 0)
    linear_backward(params, grads, "fc1", x, dh1)
    return grads


# %%
# The update.
def adam(params, grads, m, v, step):
    """Update params, m and v in place; m and v start at zero, step counts from 1."""
    for name, g in grads.items():
        m[name] = BETA1 * m[name] + (1 - BETA1) * g
        v[name] = BETA2 * v[name] + (1 - BETA2) * g**2
        m_hat, v_hat = m[name] / (1 - BETA1**step), v[name] / (1 - BETA2**step)
        params[name] -= LR * m_hat / (np.sqrt(v_hat) + EPSILON)


# %%
# The data, and the training loop.
def read_images(folder, name):
    """The images of an IDX file, packed or not: (N, 784), from 0 to 1."""
    path = Path(folder) / f"{name}-images-idx3-ubyte"
    packed = path.with_name(f"{path.name}.gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    pixels = np.frombuffer(content, "uint8", offset=16)  # behind a header of 16 bytes
    return pixels.reshape(-1, 784).astype("float32") / 255


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = os.environ.get("SCRATCHVAE_DATA") or CACHE
    parser.add_argument("--data-dir", default=folder, help="folder with the IDX files of MNIST")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training images")
    # A notebook has no command line: write options between the brackets, as in ["--epochs", "1"].
    args = parser.parse_args([] if "kernel_launcher" in sys.argv[0] else sys.argv[1:])
    try:
        train, test = (read_images(args.data_dir, name) for name in ("train", "t10k"))
    except (OSError, EOFError, ValueError) as problem:
        parser.exit(
            2, f"{parser.prog}: error: {problem}: name a folder with MNIST's IDX files (packed or "
            "not) with --data-dir, or run mnist_vae.py first, which downloads them\n"
        )  # fmt: skip

    rng = np.random.default_rng(0)
    params = initial_weights(rng)
    m, v = ({name: np.zeros_like(p) for name, p in params.items()} for _ in range(2))
    step = 0
    for epoch in range(1, args.epochs + 1):
        order = rng.permutation(len(train))
        for start in range(0, len(train), BATCH_SIZE):
            x = train[order[start : start + BATCH_SIZE]]  # (128, 784), the last batch is smaller
            eps = rng.standard_normal((len(x), 20), "float32")
            _, cache = forward(params, x, eps)
            step += 1
            adam(params, backward(params, cache), m, v, step)
        eps = np.random.default_rng(1).standard_normal((len(test), 20), "float32")
        (reconstruction, kl), _ = forward(params, test, eps)
        print(f"epoch {epoch:2}  test -ELBO {reconstruction + kl:.2f} nats per image ", end="")
        print(f"(reconstruction {reconstruction:.2f}, KL {kl:.2f})", flush=True)


if __name__ == "__main__":
    main()
