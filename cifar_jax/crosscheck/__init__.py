"""The Flax models against NumPy written by hand: only this room knows both."""
