"""Which implementation the operations take on a CPU; elsewhere it is always XLA's own."""

import contextlib
import os
from collections.abc import Iterator

from jaxtyping import Array, Float

from cifar_jax.checks import require_choice
from cifar_jax.errors import UserError
from cifar_jax.ops import onednn, sharing

BACKENDS = ('auto', 'onednn', 'jax', 'xla')
_asked = ['auto']


@contextlib.contextmanager
def use(name: str) -> Iterator[None]:
    """Traces programs with one kind of operations on CPUs; a program keeps what it was traced with.

    'onednn': this package's C++ over oneDNN. 'jax': JAX alone, arranged so that XLA's CPU code
    is fast. 'xla': XLA's own operations, for other platforms, export and FLOP counts. 'auto':
    what `$CIFAR_JAX_OPS` names, or else the first of these that there is.

    Raises:
      UserError: 'onednn' is asked for and cannot be had here, or the variable names no backend.
    """
    asked = _from_environment() if name == 'auto' else name
    if asked == 'onednn' and onednn.problem():
        raise UserError(f'config.ops.backend=onednn is not to be had: {onednn.problem()}.')
    _asked.append(asked)
    try:
        yield
    finally:
        _asked.pop()


def check(name: str) -> None:
    """Raises UserError for an unknown backend."""
    require_choice('ops.backend', name, BACKENDS)


def chosen() -> str:
    """Returns 'onednn', 'jax' or 'xla': the operations of programs that are traced now."""
    asked = _asked[-1]
    if asked == 'auto':
        asked = _from_environment()
    if asked == 'auto':
        return 'jax' if onednn.problem() else 'onednn'
    return asked


def calls_onednn(x: Float[Array, 'batch height width channels']) -> bool:
    """Whether C++ computes with images of this shape and dtype, where the program is for a CPU."""
    return (
        chosen() == 'onednn'
        and onednn.computes(x.dtype)
        and x.size > 0
        and x.shape[0] % sharing.devices() == 0
    )


def reason() -> str:
    """Returns a sentence for the log: what the operations are on a CPU, and why."""
    asked = _asked[-1] if _asked[-1] != 'auto' else _from_environment()
    why = f'{asked} was asked for'
    if asked == 'auto':
        why = onednn.problem() or f'oneDNN {onednn.version()} runs here'
    return f'operations on this CPU by {chosen()}: {why}'


def _from_environment() -> str:
    name = os.environ.get(onednn.VARIABLE) or 'auto'
    if name not in BACKENDS:
        raise UserError(f'${onednn.VARIABLE} is {name!r}; it can be {", ".join(BACKENDS)}.')
    return name
