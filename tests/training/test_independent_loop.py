"""The training loop compared with an independent one, written from its documentation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_training
from tiny_training import BATCH, CLASSES, EPOCHS, SIZE, STEPS

from cifar_jax.data import augment
from cifar_jax.training import loop

SMOOTHING, EMA, RATE, SEED = 0.25, 0.25, 0.5, 3
Net = functools.partial(tiny_training.Net, jnp.float64)


def blend(key, batch):
    """Mixes each image and label with the next; cheaper to compile than mixup's Beta draws."""
    share = jax.random.uniform(key, minval=0.6)

    def mixed(x):
        fraction = share.astype(x.dtype)
        return fraction * x + (1 - fraction) * jnp.roll(x, -1, axis=0)

    return batch._replace(images=mixed(batch.images), labels=mixed(batch.labels))


def config_of():
    config = tiny_training.config_of(
        seed=SEED,
        ema=EMA,
        loss__label_smoothing=SMOOTHING,
        schedule__name='linear',
        schedule__rate=RATE,
    )
    config.data.augment = (dict(name='blend'), dict(name='alternating_flip'), dict(name='blend'))
    return config


def cross_entropy(logits, targets):
    return -(targets * jax.nn.log_softmax(logits)).sum(axis=1)


def normalized(images, data):
    mean, std, _ = data.normalizer
    return ((images - mean[None]) / std[None]).astype(jnp.float64)


def metrics_of(logits, losses, labels):
    """Returns loss, accuracy and top 5 of NumPy arrays."""
    ranks = np.argsort(-logits, axis=1)
    return {
        'loss': float(np.mean(losses)),
        'accuracy': np.mean(ranks[:, 0] == labels),
        'top5': np.mean([label in row[:5] for row, label in zip(ranks, labels, strict=True)]),
    }


def step_by_hand(variables, momentum, images, labels, indices, epoch, step, *, data, optimizer):
    """Returns the variables and the momentum after a step, and its logits, losses and labels."""
    run_key = jax.random.fold_in(jax.random.key(SEED), 0x57E9)
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(run_key, step))
    keys = [jax.random.fold_in(augment_key, position) for position in range(3)]

    batch = augment.Batch(images, labels, indices, epoch, run_key)
    batch = blend(keys[2], augment.alternating_flip(keys[1], blend(keys[0], batch)))

    def loss_of(params):
        logits, new = Net().apply(
            {**variables, 'params': params},
            normalized(batch.images, data),
            train=True,
            progress=step.astype(jnp.float32) / STEPS,
            rngs={'dropout': dropout_key},
            mutable='batch_stats',
        )
        losses = cross_entropy(logits, (1 - SMOOTHING) * batch.labels + SMOOTHING / CLASSES)
        return losses.mean(), (losses, logits, new)

    params = variables['params']
    gradients, (losses, logits, new) = jax.grad(loss_of, has_aux=True)(params)
    with jax.numpy_dtype_promotion('standard'):
        updates, momentum = optimizer.update(gradients, momentum, params)
    variables = {'params': optax.apply_updates(params, updates), **new}
    return variables, momentum, (logits, losses, jnp.argmax(batch.labels, axis=1))


def averaged(average, variables, step):
    kept = float(min(np.float32(EMA), np.float32(1 + step) / np.float32(10 + step)))
    return jax.tree.map(lambda a, b: kept * a + (1 - kept) * b, average, variables)


def train_by_hand(data):
    """Returns the variables, their average, and the lines of the log."""
    optimizer = optax.sgd(optax.linear_schedule(RATE, 0, STEPS), 0.9, nesterov=True)
    take_step = jax.jit(functools.partial(step_by_hand, data=data, optimizer=optimizer))
    apply = jax.jit(functools.partial(Net().apply, train=False))
    variables = jax.jit(functools.partial(Net().init, train=False))(
        jax.random.key(SEED), np.zeros((1, 6, 6, 3), np.float32)
    )
    average, momentum = variables, optimizer.init(variables['params'])
    lines, step = [], 0
    for epoch in range(EPOCHS):
        order = jax.random.permutation(jax.random.fold_in(jax.random.key(SEED), epoch), SIZE)
        order, seen = np.array(order, np.int32), []
        for indices in order[: SIZE // BATCH * BATCH].reshape(-1, BATCH):
            images = data.train.images[indices].astype(np.float32) / 255
            labels = np.eye(CLASSES)[data.train.labels[indices]]
            variables, momentum, outcome = take_step(
                variables, momentum, images, labels, indices, jnp.int32(epoch), jnp.int32(step)
            )
            average = averaged(average, variables, step)
            seen.append(outcome)
            step += 1
        line = {'epoch': epoch + 1, 'step': step, 'rate': RATE * (1 - (step - 1) / STEPS)}
        trained = metrics_of(*map(np.concatenate, zip(*seen, strict=True)))
        line |= {f'train_{key}': value for key, value in trained.items()}
        inputs = normalized(data.validation.images.astype(np.float32) / 255, data)
        logits, labels = np.array(apply(average, inputs)), data.validation.labels
        validated = metrics_of(logits, cross_entropy(logits, np.eye(CLASSES)[labels]), labels)
        lines.append(line | {f'val_{key}': value for key, value in validated.items()})
    return variables, average, lines


@pytest.fixture(scope='module')
def both(tmp_path_factory):
    """The result of the loop, and that of the loop by hand."""
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(
            augment, 'BATCH_AUGMENTATIONS', augment.BATCH_AUGMENTATIONS | {'blend': blend}
        )
        data = tiny_training.data_of()
        plan = tiny_training.plan_of(config_of(), data, jnp.float64)
        result = loop.run(plan, tmp_path_factory.mktemp('run'), tiny_training.Watcher())
        return result, train_by_hand(data)


def assert_equal_trees(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_weights_and_batch_statistics_are_those_of_the_loop_by_hand(both):
    result, (variables, _, _) = both
    assert_equal_trees(dict(result.state.variables), variables)


def test_the_average_is_that_of_the_loop_by_hand(both):
    result, (_, average, _) = both
    assert_equal_trees(dict(result.state.average), average)


@pytest.mark.parametrize('epoch', range(EPOCHS))
def test_the_log_has_the_lines_of_the_loop_by_hand(epoch, both):
    result, (_, _, lines) = both
    line = dict(result.history[epoch])
    assert line.pop('seconds') > 0
    assert line.pop('images_per_second') > 0
    assert line == pytest.approx(lines[epoch], rel=1e-6)
