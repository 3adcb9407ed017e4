"""Train, compare, explain and cross-check convolutional image classifiers in JAX."""

__version__ = '0.1.0'
