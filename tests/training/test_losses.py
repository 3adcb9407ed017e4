import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from cifar_jax.training.losses import cross_entropy

BATCH, CLASSES = 7, 5
LOGITS = np.random.default_rng(0).normal(scale=3, size=(BATCH, CLASSES)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2, 1, 3, 0], np.int32)
SOFT = np.random.default_rng(1).dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)


def loss(logits: object, labels: object, smoothing: float = 0.0) -> jax.Array:
    jitted = jax.jit(cross_entropy, static_argnames='smoothing')
    return jitted(jnp.asarray(logits), jnp.asarray(labels), smoothing=smoothing)


def test_class_indices_give_minus_the_log_probability_of_the_label() -> None:
    expected = -log_softmax(LOGITS, axis=-1)[np.arange(BATCH), LABELS]
    np.testing.assert_allclose(loss(LOGITS, LABELS), expected, rtol=1e-5)


def test_its_mean_is_the_log_loss_of_scikit_learn() -> None:
    probabilities = np.exp(log_softmax(LOGITS.astype(np.float64), axis=-1))
    expected = log_loss(LABELS, probabilities, labels=range(CLASSES))
    np.testing.assert_allclose(loss(LOGITS, LABELS).mean(), expected, rtol=1e-5)


def test_soft_labels_weigh_the_log_probabilities() -> None:
    expected = -(SOFT * log_softmax(LOGITS, axis=-1)).sum(axis=-1)
    np.testing.assert_allclose(loss(LOGITS, SOFT), expected, rtol=1e-5)


def test_one_hot_soft_labels_equal_class_indices() -> None:
    one_hot = np.eye(CLASSES, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(loss(LOGITS, one_hot), loss(LOGITS, LABELS), rtol=1e-6)


@pytest.mark.parametrize('smoothing', [0.1, 0.2, 0.9])
def test_smoothing_mixes_the_label_with_the_uniform_distribution(smoothing: float) -> None:
    log_probabilities = log_softmax(LOGITS, axis=-1)
    hard = -log_probabilities[np.arange(BATCH), LABELS]
    uniform = -log_probabilities.mean(axis=-1)
    expected = (1 - smoothing) * hard + smoothing * uniform
    np.testing.assert_allclose(loss(LOGITS, LABELS, smoothing), expected, rtol=1e-5)


def test_smoothing_equals_smoothed_soft_labels() -> None:
    smoothed = np.float32(0.8) * np.eye(CLASSES, dtype=np.float32)[LABELS] + np.float32(0.04)
    np.testing.assert_allclose(loss(LOGITS, LABELS, 0.2), loss(LOGITS, smoothed), rtol=1e-5)


def test_bfloat16_logits_are_computed_in_float32() -> None:
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    losses = loss(logits, LABELS, 0.1)
    assert losses.dtype == jnp.float32
    np.testing.assert_array_equal(losses, loss(logits.astype(jnp.float32), LABELS, 0.1))


def test_float64_logits_are_computed_in_float64() -> None:
    with jax.enable_x64(True):
        losses = loss(LOGITS.astype(np.float64), LABELS)
        expected = -log_softmax(LOGITS.astype(np.float64), axis=-1)[np.arange(BATCH), LABELS]
        assert losses.dtype == jnp.float64
        np.testing.assert_allclose(losses, expected, rtol=1e-13)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[3e4, -3e4], [3e4, -3e4]], np.float32)
    np.testing.assert_array_equal(loss(logits, np.array([0, 1], np.int32)), [0.0, 6e4])


def test_its_gradient_is_softmax_minus_the_label() -> None:
    gradient = jax.grad(lambda logits: cross_entropy(logits, jnp.asarray(LABELS)).sum())
    expected = np.exp(log_softmax(LOGITS, axis=-1)) - np.eye(CLASSES)[LABELS]
    np.testing.assert_allclose(gradient(jnp.asarray(LOGITS)), expected, atol=1e-6)
