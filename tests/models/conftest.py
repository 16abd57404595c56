import pytest


@pytest.fixture
def few_channels(monkeypatch):
    """`celeba` and `skip` with fewer channels: checking their gradients takes a second."""
    for model in ("celeba", "skip"):
        monkeypatch.setattr(f"scratchvae.models.{model}.CHANNELS", (2, 3, 4, 5, 6))
