"""Array operations for models: the same results on every platform, from the fastest backend."""
