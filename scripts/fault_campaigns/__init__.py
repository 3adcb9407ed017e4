"""The parts of scripts/faults.py: commands in processes, and one module for each campaign."""
