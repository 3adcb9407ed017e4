"""Prepares the data of a config for training: loads and splits them, and fits normalisation."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cifar_jax.data import normalize, sources, splits
from cifar_jax.data.arrays import Arrays, digest


class Prepared(NamedTuple):
    """The parts of a data set in host memory; the normalizer is fitted on training images only."""

    train: Arrays
    validation: Arrays | None
    test: Arrays
    classes: tuple[str, ...]
    normalizer: normalize.Normalizer
    network: Mapping[str, Any] = {}  # of features, what computed them

    def digests(self) -> dict[str, str]:
        """Returns the digest of each existing part: train, validation, test.

        A run stores them with the names of its classes, to recognise its data later. See
        `arrays.digest` for the time they take.
        """
        parts = {'train': self.train, 'validation': self.validation, 'test': self.test}
        return {name: digest(part) for name, part in parts.items() if part is not None}


def prepare(config: ConfigDict, normalizer: normalize.Normalizer | None = None) -> Prepared:
    """Returns the data of `config.data`.

    Args:
      normalizer: the normalizer of an earlier run; fitting ZCA takes long.

    Raises:
      UserError: the set is missing, too large, or cannot be split as requested.
    """
    dataset = sources.load(config)
    train, validation = dataset.train, dataset.validation
    if validation is None:
        train, validation = splits.split(
            dataset, config.validation, config.validation_fraction, config.split_seed
        )
    normalizer = normalizer or normalize.fit(train.images, config)
    return Prepared(
        train, validation, dataset.test, dataset.classes, normalizer, network=dataset.network
    )
