"""The tables of the README and docs/, from the runs in results/."""
