"""Checks the Flax models against the NumPy reference; no other package imports both."""
