"""Selects the implementation of the operations on a CPU; other platforms always use XLA's."""

import contextlib
import os
from collections.abc import Iterator

from jaxtyping import Array, Float

from cifar_jax.checks import require_choice
from cifar_jax.errors import UserError
from cifar_jax.ops import onednn, sharing

BACKENDS = ('auto', 'onednn', 'jax', 'xla')
ALGORITHMS = ('auto', 'direct')
_requested = ['auto']
_algorithms = ['auto']


@contextlib.contextmanager
def use(backend: str, algorithm: str = 'auto') -> Iterator[None]:
    """Sets the backend and the algorithm of convolutions for programs traced in this context.

    'onednn': this package's C++ code, which uses oneDNN. 'jax': pure JAX, written so that XLA's CPU
    code is fast. 'xla': XLA's own operations, for other platforms, export and FLOP counts. 'auto':
    the one in `$CIFAR_JAX_OPS`, or else the first of these that is available.

    Algorithms: 'direct' computes the sum of a convolution as it is written; 'auto' uses Winograd's
    in the C++ code for 3x3 and 5x5 kernels where that is faster; 'winograd', wherever it is
    possible, for measurements. Other backends have 'direct' only.

    Raises:
      UserError: 'onednn' is requested but not available, or the variable names no backend.
    """
    name = _from_environment() if backend == 'auto' else backend
    if name == 'onednn' and onednn.problem():
        raise UserError(f'config.ops.backend=onednn is not available: {onednn.problem()}.')
    _requested.append(name)
    _algorithms.append(algorithm)
    try:
        yield
    finally:
        _requested.pop()
        _algorithms.pop()


def check(backend: str, algorithm: str) -> None:
    """Raises UserError for an unknown backend or algorithm."""
    require_choice('ops.backend', backend, BACKENDS)
    require_choice('ops.algorithm', algorithm, ALGORITHMS)


def chosen() -> str:
    """Returns the backend of programs that are traced now: 'onednn', 'jax' or 'xla'."""
    name = _requested[-1]
    if name == 'auto':
        name = _from_environment()
    if name == 'auto':
        return 'jax' if onednn.problem() else 'onednn'
    return name


def algorithm() -> str:
    """Returns the algorithm of convolutions in programs that are traced now."""
    return _algorithms[-1]


def uses_onednn(x: Float[Array, 'batch height width channels']) -> bool:
    """Returns whether programs for a CPU process images of this shape and dtype in C++."""
    return (
        chosen() == 'onednn'
        and onednn.computes(x.dtype)
        and x.size > 0
        and x.shape[0] % sharing.devices() == 0
    )


def reason() -> str:
    """Returns a text for the log: the backend of the operations on a CPU, and why it is used."""
    name = _requested[-1] if _requested[-1] != 'auto' else _from_environment()
    why = f'{name} was requested'
    if name == 'auto':
        why = onednn.problem() or f'oneDNN {onednn.version()} runs here'
    return f'operations on this CPU by {chosen()}: {why}'


def _from_environment() -> str:
    name = os.environ.get(onednn.VARIABLE) or 'auto'
    if name not in BACKENDS:
        raise UserError(f'${onednn.VARIABLE} is {name!r}; choose one of {", ".join(BACKENDS)}.')
    return name
