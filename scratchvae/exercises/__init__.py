"""Exercises: write a backward, or find a bug."""
