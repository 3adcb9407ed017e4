"""The cost of a training step on one device, according to XLA: memory, FLOPs and traffic."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.typing import DTypeLike

from cifar_jax.ops import backend
from cifar_jax.training import lowering
from cifar_jax.training.plan import Plan

# LLVM's optimisations change neither buffers nor counts, and take most of the time.
_FAST = {'xla_backend_optimization_level': 0, 'xla_llvm_disable_expensive_passes': True}


class Cost(NamedTuple):
    """What a training step needs on one device.

    parameters: their number. memory: bytes by kind, see `of_step`. flops: floating-point
    operations; a multiply-add is two. traffic: bytes that are read and written.
    """

    parameters: int
    memory: Mapping[str, int]
    flops: float
    traffic: float


def of_step(plan: Plan, dtype: DTypeLike) -> Cost:
    """Returns the cost of a training step by XLA's own operations, compiled for a CPU.

    FLOPs are those of the program as written, without the products of a convolution with its
    padding. Traffic and working memory are those of the compiled program: XLA fuses elementwise
    operations for a CPU much as it does for other devices.

    Args:
      plan: of one device. In bfloat16 a CPU would keep float32 copies: count in float32.
      dtype: of the images as stored.

    Returns:
      `memory` has 'parameters'; 'statistics', of batch norm; 'optimizer', its state; 'average', of
      the weights; 'batch', the images as stored; and 'working', the most that is alive within a
      step: activations, gradients and temporaries.
    """
    with backend.use('xla'), jax.set_mesh(plan.mesh):
        step = lowering.train_step(plan, dtype)
        lowered = step.function.trace(*step.arguments).lower()
        compiled = lowered.compile(_FAST)
    state, batch = step.arguments
    variables = dict(state.variables)
    parameters = variables.pop('params')
    memory = {
        'parameters': _bytes(parameters),
        'statistics': _bytes(variables),
        'optimizer': _bytes(state.opt_state),
        'average': _bytes(state.average),
        'batch': _bytes(batch),
        'working': compiled.memory_analysis().temp_size_in_bytes,
    }
    return Cost(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(parameters)),
        memory=memory,
        flops=lowered.cost_analysis()['flops'],
        traffic=compiled.cost_analysis()['bytes accessed'],
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
