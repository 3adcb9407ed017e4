"""A config's data, ready to train on: loaded, split, and its normalisation fitted."""

from typing import NamedTuple

from ml_collections import ConfigDict

from cifar_jax.data import normalize, sources, splits
from cifar_jax.data.arrays import Arrays, digest


class Prepared(NamedTuple):
    """The parts of a data set in host memory; the normalizer knows the training part only."""

    train: Arrays
    validation: Arrays | None
    test: Arrays
    classes: tuple[str, ...]
    normalizer: normalize.Normalizer

    def digests(self) -> dict[str, str]:
        """Returns the digest of each part that there is: train, validation, test.

        A run keeps them with the names of its classes, and so knows its data again: see
        `arrays.digest` for what they cost.
        """
        parts = {'train': self.train, 'validation': self.validation, 'test': self.test}
        return {name: digest(part) for name, part in parts.items() if part is not None}


def prepare(config: ConfigDict, normalizer: normalize.Normalizer | None = None) -> Prepared:
    """Returns the data of `config.data`.

    Args:
      normalizer: that of a run, where it was fitted before: ZCA's fit takes long.

    Raises:
      UserError: the set is not there, is too large, or cannot be split as asked.
    """
    dataset = sources.load(config)
    train, validation = dataset.train, dataset.validation
    if validation is None:
        train, validation = splits.split(
            dataset, config.validation, config.validation_fraction, config.split_seed
        )
    normalizer = normalizer or normalize.fit(train.images, config)
    return Prepared(train, validation, dataset.test, dataset.classes, normalizer)
