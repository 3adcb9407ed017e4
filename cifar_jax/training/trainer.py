"""The interface of trainers (JAX or NumPy), and of what they need and return."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import optax
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import PyTree
from ml_collections import ConfigDict

from cifar_jax.data.pipeline import Prepared
from cifar_jax.models.summary import Row
from cifar_jax.training import weights
from cifar_jax.training.history import Line

Variables = Mapping[str, PyTree]  # 'params' and, with batch norm, 'batch_stats', as Flax has them


@runtime_checkable
class Watcher(Protocol):
    """Follows a run; implemented by `cifar_jax.experiment.watcher.Watcher`."""

    stop: bool  # whether to stop after this step, with a checkpoint

    def started(self, step: int, history: list[Line]) -> None:
        """The run starts at `step`, with the history from its checkpoint."""

    def wants(self, step: int) -> bool:
        """Returns whether to wait for this step and call `stepped`."""
        ...

    def stepped(self, step: int) -> None:
        """A step has finished."""

    def epoch_ended(self, line: Line, variables: Any) -> None:
        """An epoch has been validated; its checkpoint is written after this returns.

        Args:
          variables: the validated variables.
        """


@runtime_checkable
class Plan(Protocol):
    """A config and its data as objects, fixed before the first step."""

    @property
    def config(self) -> ConfigDict: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def dtype(self) -> DTypeLike: ...
    @property
    def schedule(self) -> optax.Schedule: ...
    @property
    def mesh(self) -> Mesh: ...
    @property
    def steps_per_epoch(self) -> int: ...
    @property
    def total_steps(self) -> int: ...


class Result(NamedTuple):
    """The result of a run."""

    step: int  # of the variables
    history: list[Line]
    chosen: Line | None  # the line of the variables; None if the run was interrupted
    variables: Variables


class Loaded(NamedTuple):
    """The variables of a checkpoint for evaluation, and their step."""

    variables: Variables
    step: int


@runtime_checkable
class Trainer(Protocol):
    """Trains the models of configs; the modules `jax_trainer` and `numpy_trainer` implement it."""

    def check(self, config: ConfigDict, values: Mapping[str, Any]) -> None:
        """Checks the model of a config and its options, and that the trainer supports the config.

        Args:
          values: the config as one level of dotted keys.

        Raises:
          UserError: one sentence with the key and what would be valid.
        """

    def set_up(self, config: ConfigDict, *, profile: bool) -> None:
        """Sets up the process for a run, before its data are loaded.

        Raises:
          UserError: the trainer does not support profiles.
        """

    def model(self, config: ConfigDict, classes: int, dtype: DTypeLike) -> nn.Module:
        """Returns the model of a config as a Flax module."""
        ...

    def initial_variables(
        self, config: ConfigDict, classes: int, image_shape: tuple[int, ...]
    ) -> Variables:
        """Returns the initial variables, drawn from the seed of a config."""
        ...

    def plan(
        self,
        config: ConfigDict,
        data: Prepared,
        *,
        new: bool,
        read: Callable[[str], weights.Source],
    ) -> Plan:
        """Returns the plan of a run.

        Args:
          new: whether the run is new; then its initial weights are read and checked.
          read: returns the weights that `config.init_from` names.

        Raises:
          UserError: the config does not fit the data or the machine.
        """
        ...

    def describe(self, plan: Any, rows: Sequence[Row], /) -> list[str]:
        """Returns lines that describe the devices, the batch and the operations.

        Args:
          rows: the modules of the network, from `models.summary.trace`.
        """
        ...

    def run(self, plan: Any, folder: pathlib.Path, watcher: Watcher) -> Result:
        """Trains from the latest checkpoint, or from the start, to the end of the plan.

        Args:
          plan: from this trainer's `plan`.
          folder: the folder of the run, for its checkpoints.

        Raises:
          UserError: the run diverged, or no checkpoint can be read.
        """
        ...

    def load(
        self,
        config: ConfigDict,
        folder: pathlib.Path,
        checkpoint: str,
        classes: int,
        image_shape: tuple[int, ...],
        mesh: Mesh,
    ) -> Loaded:
        """Returns the variables of a run's checkpoint: 'latest', 'best', or 'chosen', its result.

        Raises:
          UserError: there is no such checkpoint yet, or it is damaged.
        """
        ...
