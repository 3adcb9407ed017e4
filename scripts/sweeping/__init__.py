"""The parts of scripts/sweep.py: which runs there are, their processes, and what is shown."""
