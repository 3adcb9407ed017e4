"""The parts of scripts/benchmark.py: each contestant runs in a process of its own."""
