"""The body of a published network, whose features are computed for whole data sets."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cifar_jax.data.normalize import Normalizer
from cifar_jax.errors import UserError
from cifar_jax.models import summary
from cifar_jax.models.backbone import ADDED, BackboneModel
from cifar_jax.models.image_model import ImageModel, head_name
from cifar_jax.models.pretrained import catalogue, sources
from cifar_jax.training import precision, weights
from cifar_jax.training import state as states
from cifar_jax.training.trainer import Variables
from cifar_jax.training.trainers import trainer_of


class Backbone(NamedTuple):
    """A network without its head, and the preprocessing that it was published with.

    The model resizes images to its `input_size`.
    """

    model: BackboneModel
    variables: Variables
    normalizer: Normalizer
    dtype: Any

    def facts(self) -> dict[str, Any]:
        """Returns all that the features of an image depend on, for JSON."""
        options = {
            name: getattr(self.model, name)
            for name in self.model.__dataclass_fields__
            if name not in ('classes', 'dtype', 'input_size', 'parent', 'name', *ADDED)
        }
        if not self.model.last_stage:
            del options['last_stage']  # which older versions did not have
        return {
            'model': type(self.model).__name__,
            'options': options,
            'weights': states.sha256(self.variables),
            'size': self.model.input_size,
            'resize': 'bilinear',
            'mean': self.normalizer.mean.reshape(-1).tolist(),
            'std': self.normalizer.std.reshape(-1).tolist(),
            'precision': np.dtype(self.dtype).name,
        }


def load(config: ConfigDict) -> Backbone:
    """Returns the backbone of a config: `config.model`, with the weights of `config.init_from`.

    Images are resized to `config.model.input_size`, or to the size that the network was published
    with. Layers that the model adds to the published network are left out.

    Raises:
      UserError: the network was not published, there are no such weights, or they are damaged or of
        another network.
    """
    published = catalogue.of(config.model.name)
    if not sources.is_pretrained(config.init_from):
        raise UserError(
            f"config.init_from='{config.init_from}' names no published weights: write "
            '--config.init_from=imagenet, hf:OWNER/NAME or a file of safetensors, Keras or PyTorch.'
        )
    dtype, _ = precision.compute_dtype(config.precision)
    model = trainer_of(config.model.name).model(config, 1, dtype)
    assert isinstance(model, BackboneModel)  # others were not published
    model = model.bare().clone(input_size=model.input_size or published.size)
    constants = (np.asarray(numbers, np.float32) for numbers in (published.mean, published.std))
    normalizer = Normalizer(*(numbers.reshape(1, 1, 3) for numbers in constants))
    return Backbone(model, _variables(config, model), normalizer, dtype)


def read_published(init_from: str, model: ImageModel) -> weights.Source:
    """Returns the weights that `sources.read` finds, of the modules that the model keeps.

    Raises:
      UserError: there are no such weights, or they are damaged.
    """
    try:
        path, arrays = sources.read(init_from, model)
    except UserError as error:
        raise UserError(f'config.init_from: {error}') from None
    if isinstance(model, BackboneModel):
        arrays = {name: array for name, array in arrays.items() if _is_kept(name, model)}
    return weights.Source(str(path), arrays)


def _is_kept(name: str, model: BackboneModel) -> bool:
    # A name of no module is unknown, and is refused later.
    parts = name.split('/')
    return len(parts) < 3 or model.keeps(parts[1])


def _variables(config: ConfigDict, model: BackboneModel) -> Variables:
    shapes, _ = summary.trace(model, (model.input_size, model.input_size, 3))
    head = head_name(model)
    source = read_published(config.init_from, model)
    arrays = {k: a for k, a in source.arrays.items() if not k.startswith(f'params/{head}/')}
    match = weights.match(
        source._replace(arrays=arrays),
        shapes,
        heads=[head],
        rename=config.init_rename,
        skip=config.init_skip,
    )
    body = _without(head, shapes)
    missing = [name for name in weights.named(body) if name not in match.arrays]
    if missing:
        raise UserError(
            f'config.init_skip leaves out {weights.first_few(missing, 3)}, on which the features '
            'depend: leave out other tensors.'
        )
    for name in weights.named(body):
        if not np.isfinite(match.arrays[name]).all():
            raise UserError(f'{source.where} is damaged ({name} is not finite): get it again.')
    return weights.fill(match.arrays, body)


def _without(head: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        kind: {name: leaf for name, leaf in tree.items() if name != head}
        for kind, tree in variables.items()
    }
