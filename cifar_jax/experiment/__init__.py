"""Configs, workdirs, and the training of runs."""
