"""Variables of a Flax model as the reference has them, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cifar_jax.reference.graph import Graph
from cifar_jax.reference.optimizers import Tree


def to_reference(graph: Graph, tree: Mapping[str, Any]) -> Tree:
    """Returns a Flax collection, such as 'params', as node -> name -> array.

    Raises:
      KeyError: the collection has arrays for which the graph has no node.
    """
    found = by_path(tree)
    places = {module: node(graph, module) for module in found}
    return {places[module]: own for module, own in found.items()}


def node(graph: Graph, module: str) -> str:
    """Returns the node that has a module's parameters.

    Raises:
      KeyError: there is none.
    """
    own = f'{module}:conv'
    name = own if own in graph.shapes else module
    if name not in graph.shapes:
        raise KeyError(f'{module} has no node in the reference')
    return name


def by_path(tree: Mapping[str, Any]) -> Tree:
    """Returns a Flax collection with one level of module paths: 'block/conv' -> name -> array."""
    found: Tree = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            for path, own in by_path(value).items():
                found.setdefault(f'{key}/{path}' if path else key, {}).update(own)
        else:
            found.setdefault('', {})[key] = np.asarray(value)
    return found
