"""Convolutional networks in pure NumPy, with gradients by hand: a check of the JAX code.

Start with the `Layer` interface in `layers.py`, then read `dense.py`, `activations.py`, `conv.py`,
and `graph.py`, which connects layers to a network. docs/backprop.md follows one image through it.
"""
