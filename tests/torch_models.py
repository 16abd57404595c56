"""The six models in PyTorch, as its users write them, for test_parity_models.py.

They were written from the description of the models, not from scratchvae/models/, because a parity
test cannot find a copied mistake. Only the layers' names are the same, so that both can load the
same weights.

Every model has `model(x, eps)`, the decoder's output with mu and logvar, and `losses(x, eps)`:
total, reconstruction, kl. Outputs of the Bernoulli models are logits.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence


class VAE(nn.Module):
    """Encode, draw z, decode; the KL term is PyTorch's own, not a formula of ours."""

    kl_weight = 1.0

    def forward(self, x, eps):
        mu, logvar = self.encode(x)
        return self.decode(mu + torch.exp(logvar / 2) * eps), mu, logvar

    def losses(self, x, eps):
        output, mu, logvar = self(x, eps)
        reconstruction = self.error(output, x)
        q, prior = Normal(mu, torch.exp(logvar / 2)), Normal(0.0, 1.0)
        kl = kl_divergence(q, prior).sum() / len(x)
        return reconstruction + self.kl_weight * kl, reconstruction, kl

    def error(self, logits, x):
        return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)


class MLP(VAE):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 400)
        self.fc_mu = nn.Linear(400, 20)
        self.fc_logvar = nn.Linear(400, 20)
        self.fc2 = nn.Linear(20, 400)
        self.fc3 = nn.Linear(400, 784)

    def encode(self, x):
        h = F.relu(self.fc1(x.flatten(1)))
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        return self.fc3(F.relu(self.fc2(z))).view(-1, 1, 28, 28)


class AE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 400)
        self.fc_z = nn.Linear(400, 20)
        self.fc2 = nn.Linear(20, 400)
        self.fc3 = nn.Linear(400, 784)

    def forward(self, x, eps):
        z = self.fc_z(F.relu(self.fc1(x.flatten(1))))
        return torch.sigmoid(self.fc3(F.relu(self.fc2(z)))).view_as(x), None, None

    def losses(self, x, eps):
        error = F.mse_loss(self(x, eps)[0], x, reduction="sum") / len(x)
        return error, error, torch.zeros_like(error)


class Conv(VAE):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.fc1 = nn.Linear(64 * 7 * 7, 256)
        self.fc_mu = nn.Linear(256, 20)
        self.fc_logvar = nn.Linear(256, 20)
        self.fc2 = nn.Linear(20, 256)
        self.fc3 = nn.Linear(256, 64 * 7 * 7)
        self.deconv1 = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)
        self.deconv2 = nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1)

    def encode(self, x):
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = F.relu(self.fc1(h.flatten(1)))
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        h = F.relu(self.fc3(F.relu(self.fc2(z)))).view(-1, 64, 7, 7)
        return self.deconv2(F.relu(self.deconv1(h)))


class Tiny(VAE):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.linear_mu = nn.Linear(512, 20, bias=False)
        self.linear_logvar = nn.Linear(512, 20, bias=False)
        self.linear = nn.Linear(20, 512, bias=False)
        self.deconv1 = nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1)
        self.deconv2 = nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1)

    def encode(self, x):
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = F.adaptive_avg_pool2d(h, 4).flatten(1)
        return self.linear_mu(h), self.linear_logvar(h)

    def decode(self, z):
        h = F.relu(self.linear(z)).view(-1, 32, 4, 4)
        return F.interpolate(self.deconv2(F.relu(self.deconv1(h))), scale_factor=2)


class CelebA(VAE):
    kl_weight = 0.00025
    error = staticmethod(F.mse_loss)

    def __init__(self):
        super().__init__()
        down, up = (3, 32, 64, 128, 256, 512), (512, 256, 128, 64, 32, 3)
        blocks = (
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU())
            for a, b in pairwise(down)
        )
        self.encoder = nn.Sequential(*blocks)
        self.fc_mu = nn.Linear(2048, 128)
        self.fc_logvar = nn.Linear(2048, 128)
        self.decoder_input = nn.Linear(128, 2048)
        blocks = (
            nn.Sequential(
                nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1),
                nn.BatchNorm2d(b),
                nn.Tanh() if b == 3 else nn.LeakyReLU(),
            )
            for a, b in pairwise(up)
        )
        self.decoder = nn.Sequential(*blocks)

    def encode(self, x):
        h = self.encoder(x).flatten(1)
        return self.fc_mu(h), self.fc_logvar(h)

    def decode(self, z):
        return self.decoder(self.decoder_input(z).view(-1, 512, 2, 2))


class Stage(nn.Module):
    """Two 3 x 3 convolutions, each with its LeakyReLU; going up, a transposed one before them."""

    def __init__(self, channels_in, channels, up=False):
        super().__init__()
        self.slope = 0.2
        if up:
            self.up = nn.ConvTranspose2d(channels_in, channels, 3, 2, 1, output_padding=1)
            channels_in = channels
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h):
        h = F.leaky_relu(self.conv1(h), self.slope)
        return F.leaky_relu(self.conv2(h), self.slope)


class Skip(VAE):
    kl_weight = 0.00025
    error = staticmethod(F.mse_loss)

    def __init__(self, skips="all", latent="scalar"):
        super().__init__()
        self.skips, self.latent = skips, latent
        down, up = (3, 16, 32, 64, 128, 256), (256, 256, 128, 64, 32, 16, 3)
        self.encoder = nn.ModuleList(Stage(a, b) for a, b in pairwise(down))
        if latent == "learned":
            self.head_mu = nn.Conv2d(256, 256, 1)
            self.head_logvar = nn.Conv2d(256, 256, 1)
        self.decoder = nn.ModuleList(Stage(a, b, up=True) for a, b in pairwise(up))
        self.decoder[-1].slope = 1.0  # no LeakyReLU in the last stage

    def forward(self, x, eps):
        maps = [x]
        for stage in self.encoder:
            maps.append(F.max_pool2d(stage(maps[-1]), 2))
        h = F.max_pool2d(maps[-1], 2)
        if self.latent == "learned":
            mu, logvar = self.head_mu(h), self.head_logvar(h)
        else:  # one number per image, kept as (N, 1, 1, 1)
            mu = h.mean((1, 2, 3), keepdim=True)
            logvar = torch.log(h.var((1, 2, 3), correction=0, keepdim=True) + 1e-6)
        h = mu + torch.exp(logvar / 2) * eps
        for i, stage in enumerate(self.decoder):
            h = stage.up(h)
            if self.skips == "all" or (self.skips == "deep" and i < 5):
                h = h + maps[5 - i]
            h = stage(h)
        return torch.sigmoid(h), mu, logvar


MODELS = {"mlp": MLP, "conv": Conv, "tiny": Tiny, "celeba": CelebA, "skip": Skip, "ae": AE}
