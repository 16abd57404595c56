"""What kernels share: threads, memory, sums over rows."""
