"""Which implementation the operations take on a CPU; elsewhere it is always XLA's own."""

import contextlib
from collections.abc import Iterator

BACKENDS = ('auto', 'xla')
_chosen = ['auto']


def chosen() -> str:
    """Returns the backend of programs that are traced now."""
    return _chosen[-1]


@contextlib.contextmanager
def use(name: str) -> Iterator[None]:
    """Traces programs with 'auto' (the fastest that there is) or 'xla' (XLA's own) operations.

    A program keeps what it was traced with.
    """
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()
