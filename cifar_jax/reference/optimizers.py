"""Optimizers with the semantics of optax.

Parameters, gradients and states are dictionaries node -> name -> array. Nothing is changed in
place. The learning rate is an argument, so that it can follow any schedule.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

Tree = dict[str, dict[str, np.ndarray]]
State = dict[str, Tree]


def tree_map(function: Callable, first: Mapping, *rest: Mapping) -> Tree:
    """Applies `function` to the arrays with the same node and name in each tree."""
    return {
        node: {
            name: function(a, *(tree[node][name] for tree in rest)) for name, a in arrays.items()
        }
        for node, arrays in first.items()
    }


@dataclasses.dataclass(frozen=True)
class SGD:
    """w <- w - rate v, v <- momentum v + g; Nesterov momentum uses g + momentum v instead of v.

    (Sutskever et al. 2013.) `l2` times the parameter is added to g first.
    """

    momentum: float = 0.0
    nesterov: bool = False
    l2: float = 0.0

    def init(self, params: Tree) -> State:
        """Returns the state before the first step."""
        return {'velocity': tree_map(np.zeros_like, params)} if self.momentum else {}

    def update(self, params: Tree, gradients: Tree, state: State, rate: float):
        """Returns the parameters and the state after one step."""
        gradients = _with_l2(params, gradients, self.l2)
        step = gradients
        if self.momentum:
            mu = self.momentum
            velocity = tree_map(lambda v, g: mu * v + g, state['velocity'], gradients)
            step = velocity
            if self.nesterov:
                step = tree_map(lambda v, g: g + mu * v, velocity, gradients)
            state = {'velocity': velocity}
        return tree_map(lambda w, s: w - rate * s, params, step), state


@dataclasses.dataclass(frozen=True)
class Adam:
    """w <- w - rate m' / (sqrt(v') + eps) (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    m <- b1 m + (1 - b1) g and v <- b2 v + (1 - b2) g^2 start at 0; m' = m / (1 - b1^t) and
    v' = v / (1 - b2^t) correct that bias. `l2` times the parameter is added to g first.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    l2: float = 0.0

    def init(self, params: Tree) -> State:
        """Returns the state before the first step."""
        mean, square = (tree_map(np.zeros_like, params) for _ in range(2))
        return {'mean': mean, 'square': square, 'steps': {'all': {'count': np.array(0)}}}

    def update(self, params: Tree, gradients: Tree, state: State, rate: float):
        """Returns the parameters and the state after one step."""
        gradients = _with_l2(params, gradients, self.l2)
        t = int(state['steps']['all']['count']) + 1
        mean = tree_map(lambda m, g: self.b1 * m + (1 - self.b1) * g, state['mean'], gradients)
        square = tree_map(
            lambda v, g: self.b2 * v + (1 - self.b2) * g**2, state['square'], gradients
        )
        correction1, correction2 = 1 - self.b1**t, 1 - self.b2**t
        params = tree_map(
            lambda w, m, v: w - rate * (m / correction1) / (np.sqrt(v / correction2) + self.eps),
            params,
            mean,
            square,
        )
        return params, {'mean': mean, 'square': square, 'steps': {'all': {'count': np.array(t)}}}


def _with_l2(params: Tree, gradients: Tree, strength: float) -> Tree:
    if not strength:
        return gradients
    return tree_map(lambda g, w: g + strength * w, gradients, params)


Optimizer = SGD | Adam
