"""The loss per image, which the training step averages."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def cross_entropy(
    logits: Float[Array, 'batch classes'],
    labels: Int[Array, 'batch'] | Float[Array, 'batch classes'],
    smoothing: float = 0.0,
) -> Float[Array, 'batch']:
    r"""Returns the cross-entropy of each image between its label and softmax(logits), in nats.

    .. math:: -\sum_k t_k \log p_k, \quad t_k = (1 - s) y_k + s / K

    Half-precision logits are converted to float32.

    Args:
        logits: unnormalised log-probabilities.
        labels: class indices, or soft labels, each row a distribution over the classes.
        smoothing: s, the fraction of the label that is spread evenly over all K classes.

    References:
        Szegedy et al., Rethinking the Inception Architecture (arXiv:1512.00567), section 7.
    """
    if jnp.finfo(logits.dtype).bits < 32:
        logits = logits.astype(jnp.float32)
    if labels.ndim == 1:
        labels = jax.nn.one_hot(labels, logits.shape[-1])
    targets = optax.smooth_labels(labels.astype(logits.dtype), smoothing)
    return optax.softmax_cross_entropy(logits, targets)
