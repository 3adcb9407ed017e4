"""Learning-rate schedules and optimizers by name, built from optax."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from cifar_jax.checks import require, require_choice
from cifar_jax.errors import UserError
from cifar_jax.training import durations
from cifar_jax.training import groups as parameter_groups

OPTIMIZERS = ('sgd', 'adam', 'adamw')

# Arguments: config.schedule, a function from a duration to steps, the steps after the warm-up.
Builder = Callable[[ConfigDict, Callable[[int | str], int], int], optax.Schedule]


def constant(config: ConfigDict, steps: Callable[[int | str], int], length: int) -> optax.Schedule:
    """The constant `rate`."""
    return optax.constant_schedule(config.rate)


def linear(config: ConfigDict, steps: Callable[[int | str], int], length: int) -> optax.Schedule:
    """Linear from rate to rate * end, over the whole run."""
    return optax.linear_schedule(config.rate, config.rate * config.end, length)


def inverse_time(
    config: ConfigDict, steps: Callable[[int | str], int], length: int
) -> optax.Schedule:
    """rate / (1 + decay * step), like `decay` in early Keras optimizers."""
    return lambda step: config.rate / (1.0 + config.decay * step)


def step_decay(
    config: ConfigDict, steps: Callable[[int | str], int], length: int
) -> optax.Schedule:
    """rate, multiplied by decay at each duration in `at`, counted from the start of the run."""
    warmup = steps(config.warmup)
    scales: dict[int, float] = {}
    for duration in config.at:
        boundary = steps(duration) - warmup
        if boundary < 0:
            raise UserError(
                f"config.schedule.at has '{duration}', which is before the warm-up of "
                f"'{config.warmup}' ends: shorten the warm-up or leave that drop out."
            )
        # In a short run, two durations can round to the same step: both drops apply.
        scales[boundary] = scales.get(boundary, 1.0) * config.decay
    return optax.piecewise_constant_schedule(config.rate, scales)


def exponential(
    config: ConfigDict, steps: Callable[[int | str], int], length: int
) -> optax.Schedule:
    """rate * decay ** (step / every), updated at every step."""
    return optax.exponential_decay(config.rate, steps(config.every), config.decay)


def cosine(config: ConfigDict, steps: Callable[[int | str], int], length: int) -> optax.Schedule:
    """Half a cosine from rate to rate * end (Loshchilov & Hutter, arXiv:1608.03983, eq. 5)."""
    return optax.cosine_decay_schedule(config.rate, length, alpha=config.end)


def one_cycle(config: ConfigDict, steps: Callable[[int | str], int], length: int) -> optax.Schedule:
    """Piecewise linear: rate * start, rate at the fraction `peak`, rate * end at the end.

    Smith & Topin, Super-Convergence (arXiv:1708.07120). optax's one-cycle schedules mix dtypes,
    which strict promotion refuses, and have other end values.
    """
    rise = round(config.peak * length)
    up = optax.linear_schedule(config.rate * config.start, config.rate, rise)
    down = optax.linear_schedule(config.rate, config.rate * config.end, length - rise)
    return optax.join_schedules([up, down], [rise])


SCHEDULES: dict[str, Builder] = {
    'constant': constant,
    'linear': linear,
    'inverse_time': inverse_time,
    'step': step_decay,
    'exponential': exponential,
    'cosine': cosine,
    'one_cycle': one_cycle,
}


def make_schedule(
    config: ConfigDict, *, total_steps: int, steps_per_epoch: int
) -> Callable[[int | Int[Array, '']], Float[Array, '']]:
    """Returns the schedule, a function from a 0-based step to its learning rate in float32.

    A warm-up of w steps is linear from 0 to the schedule's first rate. The schedule starts after
    it: its step 0 is step w of the run, and linear, cosine and one_cycle span the rest of the run.
    Only `at` counts from the start of the run.

    Args:
        config: `config.schedule`; its names and values as `check` accepts them.
        total_steps: steps in the run.
        steps_per_epoch: steps in one pass over the training images.

    Raises:
        UserError: the durations do not fit into the run.
    """

    def steps(duration: int | str) -> int:
        return durations.steps(duration, steps_per_epoch=steps_per_epoch, total_steps=total_steps)

    warmup = steps(config.warmup)
    if warmup and warmup >= total_steps:
        raise UserError(
            f"config.schedule.warmup is '{config.warmup}', {warmup} steps, and the run has "
            f'{total_steps}: shorten the warm-up or lengthen config.train.length.'
        )
    schedule = warm = SCHEDULES[config.name](config, steps, total_steps - warmup)
    if warmup:
        rise = optax.linear_schedule(0.0, 1.0, warmup)
        warm = optax.join_schedules([lambda step: rise(step) * schedule(0.0), schedule], [warmup])
    # optax divides the step by Python floats, which strict promotion only allows for floats.
    return lambda step: jnp.asarray(warm(jnp.asarray(step, jnp.float32)), jnp.float32)


def make_optimizer(
    config: ConfigDict, schedule: optax.Schedule, steps: Callable[[int | str], int] = int
) -> optax.GradientTransformation:
    r"""Returns the optimizer of `config.optimizer`, as `check` accepts it.

    In this order, as in PyTorch with `clip_grad_norm_` before `step`:

    1. `clip_norm` scales the gradient of the loss down to that global norm;
    2. `l2` times the parameter is added to the gradient of every parameter, batch norm and
       biases too (sgd, adam: what PyTorch calls `weight_decay` there);
    3. sgd: :math:`v \leftarrow \mu v + g`, the update is v, with Nesterov :math:`g + \mu v`;
       adam and adamw: Adam's moments with bias correction;
    4. adamw adds `weight_decay` times the parameter to the update, of every parameter
       (Loshchilov & Hutter, arXiv:1711.05101, algorithm 2);
    5. the update is multiplied by minus the scheduled rate.

    With `groups` (see `training.groups`), steps 2 to 5 are those of each parameter's group, and a
    frozen one is left out of the global norm too. A group with `frozen_until` begins after that
    with the state of the optimizer's first step, and with the rate of the schedule at that time.

    Args:
        config: `config.optimizer`.
        schedule: the rate at each step of the run.
        steps: converts `frozen_until` to steps; by default, it is their number.
    """
    parts = []
    if config.clip_norm:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    if not config.groups:
        return _with_standard_promotion(optax.chain(*parts, *_rule(config, schedule, {})))
    groups = tuple(config.groups)
    first = {
        str(n): steps(group['frozen_until']) if 'frozen_until' in group else 0
        for n, group in enumerate(groups)
    }
    rules = {
        str(n): _group_rule(config, schedule, group, first[str(n)])
        for n, group in enumerate(groups)
    }
    rules[parameter_groups.REST] = optax.chain(*_rule(config, schedule, {}))
    trained = functools.partial(parameter_groups.trained, groups)
    labels = functools.partial(parameter_groups.labels, groups)
    if parts and any(first.values()):
        present = {label: _after(step, optax.identity()) for label, step in first.items()}
        parts.insert(
            0, optax.partition(present | {parameter_groups.REST: optax.identity()}, labels)
        )
    return _with_standard_promotion(
        optax.chain(
            *(optax.masked(part, trained) for part in parts), optax.partition(rules, labels)
        )
    )


def _group_rule(
    config: ConfigDict, schedule: optax.Schedule, group: parameter_groups.Group, first: int
) -> optax.GradientTransformation:
    if group.get('frozen', False):
        return optax.set_to_zero()
    factor = group.get('rate', 1.0)
    # The rule counts its own steps, which begin with the first.
    return _after(
        first, optax.chain(*_rule(config, lambda step: factor * schedule(step + first), group))
    )


def _after(
    first: int, transformation: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Returns a transformation whose updates are 0, and whose state stays, before a step."""
    if not first:
        return transformation
    return optax.conditionally_mask(transformation, lambda step: step >= first)


def _rule(
    config: ConfigDict, schedule: optax.Schedule, group: parameter_groups.Group
) -> list[optax.GradientTransformation]:
    """Returns steps 2 to 5 of `make_optimizer`, with the decay of a group, if it has one."""
    parts = []
    if l2 := group.get('l2', config.l2):
        parts.append(optax.add_decayed_weights(l2))
    if config.name == 'sgd':
        parts.append(optax.sgd(schedule, config.momentum or None, config.nesterov))
    elif config.name == 'adam':
        parts.append(optax.adam(schedule, config.b1, config.b2, config.eps))
    else:
        decay = group.get('weight_decay', config.weight_decay)
        parts.append(optax.adamw(schedule, config.b1, config.b2, config.eps, weight_decay=decay))
    return parts


def _with_standard_promotion(
    transformation: optax.GradientTransformation,
) -> optax.GradientTransformation:
    # optax's bias correction raises a Python float to an int32, which strict promotion refuses.
    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        with jax.numpy_dtype_promotion('standard'):
            return transformation.update(updates, state, params)

    return optax.GradientTransformation(transformation.init, update)


def check(config: ConfigDict) -> None:
    """Checks `config.optimizer`, `config.schedule`, `config.loss` and `config.ema`; runs no JAX.

    Raises:
        UserError: for an unknown name, an impossible value, or one that the chosen optimizer or
            schedule has no use for where ignoring it would change what the user means.
    """
    _check_optimizer(config.optimizer)
    _check_schedule(config.schedule)
    smoothing = config.loss.label_smoothing
    require(0 <= smoothing < 1, 'loss.label_smoothing', smoothing, 'be at least 0 and below 1')
    rule = 'be at least 0 and below 1: it is the share kept at each step'
    require(0 <= config.ema < 1, 'ema', config.ema, rule)


def _check_optimizer(config: ConfigDict) -> None:
    require_choice('optimizer.name', config.name, OPTIMIZERS)
    for key in ('momentum', 'b1', 'b2'):
        value = config[key]
        require(0 <= value < 1, f'optimizer.{key}', value, 'be at least 0 and below 1')
    for key in ('l2', 'weight_decay', 'clip_norm', 'eps'):
        _check_finite(f'optimizer.{key}', config[key])
    if config.weight_decay and config.name != 'adamw':
        raise UserError(
            f"config.optimizer.weight_decay is adamw's, and the optimizer is {config.name}: "
            'set config.optimizer.l2 to add it to the gradient, or take adamw.'
        )
    if config.l2 and config.name == 'adamw':
        raise UserError(
            'config.optimizer.l2 adds to the gradient, which adamw is made to avoid: '
            'set config.optimizer.weight_decay, or take adam.'
        )
    parameter_groups.check(config.groups, config.name)


def _check_schedule(config: ConfigDict) -> None:
    require_choice('schedule.name', config.name, SCHEDULES)
    _check_finite('schedule.rate', config.rate)
    _check_finite('schedule.decay', config.decay)
    for key in ('end', 'peak', 'start'):
        require(0 <= config[key] <= 1, f'schedule.{key}', config[key], 'be from 0 to 1')
    durations.check('schedule.warmup', config.warmup)
    durations.check('schedule.every', config.every, above_zero=config.name == 'exponential')
    for duration in config.at:
        durations.check('schedule.at', duration)
    if config.name in ('step', 'exponential'):
        rule = f"be above 0 and at most 1, such as 0.1: it is the factor of '{config.name}'"
        require(0 < config.decay <= 1, 'schedule.decay', config.decay, rule)
    if config.name == 'inverse_time':
        rule = "be above 0, such as 1e-6; with 'constant' the rate never falls"
        require(config.decay > 0, 'schedule.decay', config.decay, rule)
    if config.name == 'step':
        rule = "be a list of durations, such as ('15 epochs', '30 epochs')"
        require(len(config.at) > 0, 'schedule.at', tuple(config.at), rule)


def _check_finite(key: str, value: int | float) -> None:
    require(0 <= value < math.inf, key, value, 'be 0 or more, and finite')
