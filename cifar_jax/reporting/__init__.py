"""Pictures of data and runs: one picture, one function."""
