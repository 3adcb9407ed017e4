"""Interception of calls of a model's modules, to record or change their outputs."""

import contextlib
from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jaxtyping import Array

from cifar_jax.models.layers import BatchNorm


def around_calls(
    around: Callable[..., Array], kinds: tuple[type, ...] = (nn.Module,)
) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which `around` replaces the calls of modules of some kinds.

    Args:
      around: called as `around(path, call, *args, **kwargs)`, where `path` names a module, such as
        'stage1_block1/conv1', and `call(*args, **kwargs)` is the original call. The model itself
        has no path and is not intercepted.
      kinds: the classes of the modules.
    """

    def intercept(call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext):
        module = context.module
        if context.method_name != '__call__' or not module.path or not isinstance(module, kinds):
            return call(*args, **kwargs)
        return around('/'.join(module.path), call, *args, **kwargs)

    return nn.intercept_methods(intercept)


def with_frozen_statistics(
    frozen: Callable[[str], bool],
) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which some batch norms use and keep their moving statistics in training.

    Args:
      frozen: a function of the path of a batch norm.
    """

    def around(path: str, call: Callable, x: Array, *, train: bool) -> Array:
        return call(x, train=train and not frozen(path))

    return around_calls(around, (BatchNorm,))
