"""Selects the dtype of the computation, which depends on the processor."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from cifar_jax.checks import require_choice
from cifar_jax.machine import processor, processor_flags

PRECISIONS = ('float32', 'bfloat16')
# x86 and ARM processors with one of these flags have bfloat16 instructions; others emulate them.
_NATIVE_BFLOAT16 = {'avx512_bf16', 'amx_bf16', 'bf16'}


def check(precision: str) -> None:
    """Raises UserError for an unknown precision."""
    require_choice('precision', precision, PRECISIONS)


def compute_dtype(precision: str) -> tuple[DTypeLike, str]:
    """Returns the dtype of activations, and a sentence if it is not the requested one.

    Args:
      precision: 'float32' or 'bfloat16'; the state is float32 in both.
    """
    if precision == 'float32':
        return jnp.float32, ''
    if jax.default_backend() == 'cpu' and not processor_flags() & _NATIVE_BFLOAT16:
        return jnp.float32, (
            f'precision: float32, since {processor()} has no bfloat16 instructions and would '
            'emulate them'
        )
    return jnp.bfloat16, ''
