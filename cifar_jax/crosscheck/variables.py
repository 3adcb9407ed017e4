"""Converts the variables of a Flax model to those of the reference."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cifar_jax.reference.graph import Graph
from cifar_jax.reference.optimizers import Tree


def to_reference(graph: Graph, tree: Mapping[str, Any]) -> Tree:
    """Returns a Flax collection, such as 'params', as node -> name -> array.

    Raises:
      KeyError: the graph has no node for some of the arrays.
    """
    return {node_name(graph, module): arrays for module, arrays in by_path(tree).items()}


def node_name(graph: Graph, module: str) -> str:
    """Returns the name of the node that has a module's parameters.

    Raises:
      KeyError: the graph has no such node.
    """
    conv = f'{module}:conv'
    name = conv if conv in graph.shapes else module
    if name not in graph.shapes:
        raise KeyError(f'{module} has no node in the reference')
    return name


def by_path(tree: Mapping[str, Any]) -> Tree:
    """Flattens a Flax collection to one level of module paths: 'block/conv' -> name -> array."""
    arrays: Tree = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            for path, inner in by_path(value).items():
                arrays.setdefault(f'{key}/{path}' if path else key, {}).update(inner)
        else:
            arrays.setdefault('', {})[key] = np.asarray(value)
    return arrays
