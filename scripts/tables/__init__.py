"""The tables of the README and of RESULTS.md, from the runs in results/."""
