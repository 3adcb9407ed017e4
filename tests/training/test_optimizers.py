from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.training.optimizers import check, make_optimizer

STEPS = 6
RATES = np.array([0.1, 0.05, 0.2, 0.1, 0.02, 0.3], np.float32)
Tree = dict[str, np.ndarray]
Gradients = list[Tree]


def start() -> tuple[Tree, Gradients]:
    rng = np.random.default_rng(0)

    def draw() -> Tree:
        return {'kernel': rng.normal(size=(3, 2)), 'bias': rng.normal(size=2)}

    return draw(), [draw() for _ in range(STEPS)]


def optax_run(**values: object) -> list[Tree]:
    """The parameters after each step with our optimizer and a rate that changes every step."""
    config = get_defaults()
    config.optimizer.update(values)
    check(config)
    optimizer = make_optimizer(config.optimizer, lambda step: jnp.asarray(RATES)[step])
    first, gradients = jax.tree.map(jnp.float32, start())
    params, state, path = first, optimizer.init(first), []

    @jax.jit
    def advance(params, state, gradient):  # type: ignore[no-untyped-def]
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for gradient in gradients:
        params, state = advance(params, state, gradient)
        path.append(params)
    return path


def numpy_run(rule: Callable[[Tree], Iterator[Tree]]) -> list[Tree]:
    """The same with `rule`, a generator: it is sent (params, gradient) and yields the update."""
    params, gradients = start()
    running, path = rule(params), []
    next(running)
    for gradient, rate in zip(gradients, RATES, strict=True):
        update = running.send((params, gradient))  # type: ignore[attr-defined]
        params = {name: params[name] - rate * update[name] for name in params}
        path.append(params)
    return path


def assert_same(path: list[Tree], expected: list[Tree]) -> None:
    assert len(path) == len(expected) == STEPS
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), path, expected
    )


def sgd(momentum: float = 0.0, nesterov: bool = False, l2: float = 0.0):  # type: ignore[no-untyped-def]
    def rule(params):  # type: ignore[no-untyped-def]
        velocity, update = {name: 0 * value for name, value in params.items()}, None
        while True:
            params, gradient = yield update
            gradient = {name: gradient[name] + l2 * params[name] for name in params}
            velocity = {name: momentum * velocity[name] + gradient[name] for name in params}
            ahead = {name: gradient[name] + momentum * velocity[name] for name in params}
            update = ahead if nesterov else velocity

    return rule


def adam(l2: float = 0.0, weight_decay: float = 0.0):  # type: ignore[no-untyped-def]
    b1, b2, eps = 0.8, 0.99, 1e-3

    def rule(params):  # type: ignore[no-untyped-def]
        m = v = {name: 0 * value for name, value in params.items()}
        count, update = 0, None
        while True:
            params, gradient = yield update
            count += 1
            gradient = {name: gradient[name] + l2 * params[name] for name in params}
            m = {name: b1 * m[name] + (1 - b1) * gradient[name] for name in params}
            v = {name: b2 * v[name] + (1 - b2) * gradient[name] ** 2 for name in params}
            update = {
                name: m[name] / (1 - b1**count) / (np.sqrt(v[name] / (1 - b2**count)) + eps)
                + weight_decay * params[name]
                for name in params
            }

    return rule


ADAM = {'b1': 0.8, 'b2': 0.99, 'eps': 1e-3}


def test_sgd_without_momentum() -> None:
    assert_same(optax_run(name='sgd', momentum=0.0), numpy_run(sgd()))


def test_sgd_with_momentum() -> None:
    path = optax_run(name='sgd', momentum=0.9, nesterov=False)
    assert_same(path, numpy_run(sgd(momentum=0.9)))


def test_sgd_with_nesterov_momentum() -> None:
    path = optax_run(name='sgd', momentum=0.9, nesterov=True)
    assert_same(path, numpy_run(sgd(momentum=0.9, nesterov=True)))


def test_sgd_adds_l2_to_the_gradient_of_every_parameter() -> None:
    path = optax_run(name='sgd', momentum=0.9, nesterov=True, l2=0.1)
    assert_same(path, numpy_run(sgd(momentum=0.9, nesterov=True, l2=0.1)))


def test_adam() -> None:
    assert_same(optax_run(name='adam', **ADAM), numpy_run(adam()))


def test_adam_adds_l2_to_the_gradient_before_its_moments() -> None:
    assert_same(optax_run(name='adam', l2=0.3, **ADAM), numpy_run(adam(l2=0.3)))


def test_adamw_decays_the_weights_apart_from_the_moments() -> None:
    path = optax_run(name='adamw', weight_decay=0.3, **ADAM)
    assert_same(path, numpy_run(adam(weight_decay=0.3)))


@pytest.mark.parametrize('limit', [0.5, 2.0, 100.0])
def test_the_global_norm_is_clipped_before_l2_is_added(limit: float) -> None:
    inner = sgd(momentum=0.9, l2=0.2)

    def clipped(params):  # type: ignore[no-untyped-def]
        running, update = inner(params), None
        next(running)
        while True:
            params, gradient = yield update
            norm = np.sqrt(sum((value**2).sum() for value in gradient.values()))
            scale = min(1, limit / norm)
            scaled = {name: scale * value for name, value in gradient.items()}
            update = running.send((params, scaled))

    path = optax_run(name='sgd', momentum=0.9, nesterov=False, l2=0.2, clip_norm=limit)
    assert_same(path, numpy_run(clipped))


def test_the_defaults_pass_the_check() -> None:
    check(get_defaults())


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('optimizer.name', 'adamx', "optimizer.name='adamx' is not valid: did you mean 'adam"),
        ('optimizer.momentum', 1.0, 'momentum=1.0 must be at least 0 and below 1'),
        ('optimizer.momentum', -0.1, 'momentum=-0.1 must be at least 0'),
        ('optimizer.b1', 1.0, 'b1=1.0 must be at least 0 and below 1'),
        ('optimizer.b2', 1.5, 'b2=1.5 must be at least 0 and below 1'),
        ('optimizer.eps', -1e-8, 'eps=-1e-08 must be 0 or more'),
        ('optimizer.l2', -1e-4, 'l2=-0.0001 must be 0 or more'),
        ('optimizer.clip_norm', -1.0, 'clip_norm=-1.0 must be 0 or more'),
        ('optimizer.clip_norm', float('nan'), 'clip_norm=nan must be 0 or more'),
        ('optimizer.weight_decay', 5e-4, "is adamw's, and the optimizer is sgd: set config.opt"),
        ('loss.label_smoothing', 1.0, 'loss.label_smoothing=1.0 must be at least 0 and below 1'),
        ('loss.label_smoothing', -0.1, 'loss.label_smoothing=-0.1 must be'),
        ('ema', 1.0, 'ema=1.0 must be at least 0 and below 1'),
    ],
)
def test_an_impossible_value_is_refused(key: str, value: object, message: str) -> None:
    config = get_defaults()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        check(config)


def test_l2_with_adamw_is_refused() -> None:
    config = get_defaults()
    config.optimizer.update({'name': 'adamw', 'l2': 1e-4})
    with pytest.raises(UserError, match=r'set config\.optimizer\.weight_decay'):
        check(config)
