"""A model's modules as they are called: to see, or to change, what each of them computes."""

import contextlib
from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jaxtyping import Array


def around_calls(
    around: Callable[..., Array], kinds: tuple[type, ...] = (nn.Module,)
) -> contextlib.AbstractContextManager[None]:
    """Has `around(path, call, *args, **kwargs)` compute what modules of some kinds return.

    `path` names a module, as 'stage1_block1/conv1', and `call(*args, **kwargs)` computes as if
    nothing were around it. The model itself, which has no path, is left alone.
    """

    def intercept(call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext):
        module = context.module
        if context.method_name != '__call__' or not module.path or not isinstance(module, kinds):
            return call(*args, **kwargs)
        return around('/'.join(module.path), call, *args, **kwargs)

    return nn.intercept_methods(intercept)
