"""What kernels share: threads, memory, sums over rows, loops over elements."""
