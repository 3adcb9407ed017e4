"""Comparisons of runs: a table, curves, and tests of their differences."""
