"""Training on an NVIDIA GPU: a step as a CUDA graph, batches copied ahead, noise drawn there."""
