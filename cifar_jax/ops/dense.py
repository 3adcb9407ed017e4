"""Matrix product of a batch with the weights of a dense layer."""

import jax
from jaxtyping import Array, Float


@jax.custom_vjp
def matmul(
    x: Float[Array, 'batch channels'], kernel: Float[Array, 'channels features']
) -> Float[Array, 'batch features']:
    """Returns `x @ kernel`, with a kernel gradient in the kernel's memory layout.

    JAX computes the gradient as `(gradient.T @ x).T`, and XLA moves the transpose into everything
    that reads it. The optimizer then updates its moments in column order, which takes ten times as
    long on a CPU.

    Raises:
      TypeError: forward-mode differentiation (jvp, jacfwd), since the gradient is custom.
    """
    return x @ kernel


def _forward(x, kernel):
    return x @ kernel, (x, kernel)


def _backward(saved, gradient):
    x, kernel = saved
    return gradient @ kernel.T, x.T @ gradient


matmul.defvjp(_forward, _backward)
