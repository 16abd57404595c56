"""How good a model is, and what its latent space looks like."""
