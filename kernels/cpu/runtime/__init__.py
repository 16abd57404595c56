"""Shared by all kernels: threads, memory, sums over rows."""
