"""Convolutional networks in NumPy alone: every gradient by hand, and the judge of the JAX code.

Read `layers.py` for the contract, then `dense.py`, `activations.py`, `conv.py`, and `graph.py`
for how layers make a network. docs/backprop.md walks one image through it.
"""
