"""The loss and its gradient."""

from collections.abc import Iterable

import numpy as np

from cifar_jax.reference.activations import softmax


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, smoothing: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns each image's loss [b], in nats, and the gradient [b k] of their mean.

    L = -sum over k of t_k log p_k with p = softmax(logits), t = (1 - smoothing) label +
    smoothing / K. Since dlog p_k / dx_j = 1[k = j] - p_j and the t sum to 1, dL/dx = p - t: softmax
    and logarithm cancel, which is why they are computed together (Goodfellow et al. 2016, 6.2.2.3;
    smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7).

    Args:
      logits: [b k].
      labels: classes [b], or distributions over them [b k].
    """
    batch, classes = logits.shape
    if labels.ndim == 1:
        labels = np.eye(classes, dtype=logits.dtype)[labels]
    targets = (1 - smoothing) * labels.astype(logits.dtype) + smoothing / classes
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    total = targets.sum(axis=1, keepdims=True)
    gradient = (softmax(logits) * total - targets) / batch
    return -(targets * log_p).sum(axis=1), gradient


def l2(arrays: Iterable[np.ndarray], strength: float) -> tuple[float, list[np.ndarray]]:
    """Returns strength / 2 times the sum of squares, and its gradient strength * w for each w."""
    arrays = list(arrays)
    return strength / 2 * sum(float((w**2).sum()) for w in arrays), [strength * w for w in arrays]
