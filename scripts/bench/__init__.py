"""The modules of scripts/benchmark.py, which runs each contestant in a separate process."""
