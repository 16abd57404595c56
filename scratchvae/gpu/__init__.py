"""Training on an NVIDIA GPU: CUDA graphs, prefetched batches, a counter-based generator."""
