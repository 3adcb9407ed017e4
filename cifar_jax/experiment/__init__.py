"""Configs, workdirs and what a user sees of a run."""
