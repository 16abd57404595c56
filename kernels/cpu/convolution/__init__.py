"""Convolutions and transposed convolutions; correlate.py is the entry point."""
