"""Sweeps: which runs there are, their processes, and what is shown of them."""
