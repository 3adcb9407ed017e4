import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from cifar_jax.training import losses, metrics
from cifar_jax.training.metrics import top_k_correct

CLASSES = 10


def batch(size: int, classes: int = CLASSES) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(size)
    logits = rng.normal(size=(size, classes)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(rng.integers(classes, size=size), jnp.int32)


@pytest.mark.parametrize('k', [1, 2, 5, 9])
def test_the_share_of_correct_is_that_of_scikit_learn(k: int) -> None:
    logits, labels = batch(200)
    expected = top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES))
    assert float(top_k_correct(logits, labels, k).mean()) == pytest.approx(expected)


@pytest.mark.parametrize('k', [3, 5])
def test_all_is_correct_where_k_reaches_the_number_of_classes(k: int) -> None:
    logits, labels = batch(20, classes=3)
    assert top_k_correct(logits, labels, k).all()


@pytest.mark.parametrize('k', [1, 2, 3])
def test_ties_go_to_the_lower_class_as_in_jax_top_k(k: int) -> None:
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.integers(3, size=(100, 4)), jnp.float32)
    labels = jnp.asarray(rng.integers(4, size=100), jnp.int32)
    chosen = jax.lax.top_k(logits, k)[1]
    np.testing.assert_array_equal(
        top_k_correct(logits, labels, k), (chosen == labels[:, None]).any(axis=-1)
    )


def test_a_network_that_diverged_is_wrong() -> None:
    logits = jnp.full((4, CLASSES), jnp.nan)
    assert not top_k_correct(logits, jnp.arange(4, dtype=jnp.int32), 5).any()


def test_masked_batches_give_the_means_of_the_images_that_count() -> None:
    logits, labels = batch(23)
    padded_logits = jnp.concatenate([logits, jnp.full((7, CLASSES), jnp.nan)])
    padded_labels = jnp.concatenate([labels, jnp.zeros(7, jnp.int32)])
    mask = jnp.arange(30) < 23

    @jax.jit
    def add(sums: metrics.Sums, start: jax.Array) -> metrics.Sums:
        values = losses.cross_entropy(padded_logits, padded_labels)
        chosen = (values, padded_logits, padded_labels, mask)
        return metrics.add(sums, *(jax.lax.dynamic_slice_in_dim(x, start, 10) for x in chosen))

    sums = metrics.zeros()
    for start in (0, 10, 20):
        sums = add(sums, jnp.int32(start))
    values = np.asarray(losses.cross_entropy(logits, labels), np.float64)
    assert metrics.mean(sums) == {
        'loss': pytest.approx(values.mean(), rel=1e-6),
        'accuracy': int(top_k_correct(logits, labels, 1).sum()) / 23,
        'top5': int(top_k_correct(logits, labels, 5).sum()) / 23,
    }


def test_counts_are_exact_integers_beyond_what_float32_holds() -> None:
    large = jnp.asarray(2**24, jnp.int32)
    logits, labels = jnp.eye(3), jnp.arange(3, dtype=jnp.int32)
    sums = metrics.zeros()._replace(correct=large, correct5=large, count=large)
    sums = metrics.add(sums, jnp.zeros(3), logits, labels, jnp.array([True, True, False]))
    assert [int(n) for n in (sums.correct, sums.correct5, sums.count)] == [2**24 + 2] * 3
    assert sums.count.dtype == jnp.int32


def test_the_loss_of_a_whole_test_set_loses_less_than_a_millionth() -> None:
    values = np.random.default_rng(0).exponential(size=(20, 500)).astype(np.float32)
    logits, labels, mask = jnp.zeros((500, 2)), jnp.zeros(500, jnp.int32), jnp.ones(500, bool)
    add, sums = jax.jit(metrics.add), metrics.zeros()
    for row in jnp.asarray(values):
        sums = add(sums, row, logits, labels, mask)
    assert metrics.mean(sums)['loss'] == pytest.approx(values.astype(np.float64).mean(), rel=1e-6)


def test_float64_losses_are_accepted() -> None:
    with jax.enable_x64(True):
        logits, labels = batch(4)
        values = losses.cross_entropy(logits.astype(jnp.float64), labels)
        sums = metrics.add(metrics.zeros(), values, logits, labels, jnp.ones(4, bool))
    assert sums.loss.dtype == jnp.float32


def test_the_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        metrics.mean(metrics.zeros())
