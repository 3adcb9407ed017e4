"""The product of a batch with a dense layer's weights."""

import jax
from jaxtyping import Array, Float


@jax.custom_vjp
def matmul(
    x: Float[Array, 'batch channels'], kernel: Float[Array, 'channels features']
) -> Float[Array, 'batch features']:
    """Returns `x @ kernel`, whose kernel gradient comes out in the kernel's layout.

    JAX's own is `(gradient.T @ x).T`. XLA leaves the transposition to all that reads it: the
    optimizer then goes through its moments across the rows, at a tenth of the speed on a CPU.

    Raises:
      TypeError: of forward-mode differentiation (jvp, jacfwd), which a custom gradient excludes.
    """
    return x @ kernel


def _forward(x, kernel):
    return x @ kernel, (x, kernel)


def _backward(saved, gradient):
    x, kernel = saved
    return gradient @ kernel.T, x.T @ gradient


matmul.defvjp(_forward, _backward)
