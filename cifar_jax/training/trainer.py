"""What trains a model, JAX or NumPy, as the rest of the code sees it."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import optax
from flax import linen as nn
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import PyTree
from ml_collections import ConfigDict

from cifar_jax.data.pipeline import Prepared
from cifar_jax.training import weights
from cifar_jax.training.history import Line

Variables = Mapping[str, PyTree]  # 'params' and, with batch norm, 'batch_stats', as Flax has them


@runtime_checkable
class Watcher(Protocol):
    """Who follows a run; `cifar_jax.experiment.watcher.Watcher` shows it to a user."""

    stop: bool  # a wish to stop after this step, with a checkpoint

    def started(self, step: int, history: list[Line]) -> None:
        """The run begins at `step`, with what the checkpoint knows of the log."""

    def wants(self, step: int) -> bool:
        """Returns whether to wait for this step and call `stepped`."""
        ...

    def stepped(self, step: int) -> None:
        """The step is done."""

    def epoch_ended(self, line: Line, variables: Any) -> None:
        """An epoch has been validated; its checkpoint is written after this returns.

        Args:
          variables: those that were validated.
        """


@runtime_checkable
class Plan(Protocol):
    """What a config and its data come to, fixed before the first step."""

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
    """What a run ends with."""

    step: int  # of the variables
    history: list[Line]
    chosen: Line | None  # the line of the variables; None: the run was interrupted
    variables: Variables


class Loaded(NamedTuple):
    """The variables of a checkpoint that a run is judged by, and their step."""

    variables: Variables
    step: int


@runtime_checkable
class Trainer(Protocol):
    """What can train a model of a config; `jax_trainer` and `numpy_trainer` are its two modules."""

    def check(self, config: ConfigDict, values: Mapping[str, Any]) -> None:
        """Refuses an unknown model, impossible options, and what the trainer cannot do.

        Args:
          values: the config as one level of dotted keys.

        Raises:
          UserError: one sentence with the key and what would be valid.
        """

    def set_up(self, config: ConfigDict, *, profile: bool) -> None:
        """Sets up the process for a run, before its data are loaded.

        Raises:
          UserError: the trainer cannot write a profile, and one is asked for.
        """

    def model(self, config: ConfigDict, classes: int, dtype: DTypeLike) -> nn.Module:
        """Returns the model of a config as a Flax module."""
        ...

    def initial_variables(
        self, config: ConfigDict, classes: int, image_shape: tuple[int, ...]
    ) -> Variables:
        """Returns the variables that the seed of a config draws."""
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
          new: whether the run begins; then the weights that it begins with are read and checked.
          read: returns the weights that `config.init_from` names.

        Raises:
          UserError: the config does not fit the data or the machine.
        """
        ...

    def describe(self, plan: Any) -> list[str]:
        """Returns lines that tell the user what the run computes with."""
        ...

    def run(self, plan: Any, folder: pathlib.Path, watcher: Watcher) -> Result:
        """Trains from the latest checkpoint, or from the start, to the end of the plan.

        Args:
          plan: of this trainer.
          folder: of the run; its checkpoints are kept there.

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
