"""The parts of scripts/mutation.py: the mutants of a module, the tests' lines, and the verdicts."""
