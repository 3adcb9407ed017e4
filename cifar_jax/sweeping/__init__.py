"""Sweeps: the grid of runs, their processes, and the display of their progress."""
