"""Writes folders of kept features, without a network."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from cifar_jax.data import kept_features
from cifar_jax.data.arrays import Arrays, digest
from cifar_jax.data.kept_features import Index

CLASSES = ('a', 'b', 'c')


def write(
    folder: pathlib.Path,
    counts: Mapping[str, int],
    width: int = 6,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Arrays]:
    """Writes random features of classes that overlap, and returns them by part."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(CLASSES), width))
    parts = {}
    for part, count in counts.items():
        labels = np.arange(count, dtype=np.int32) % len(CLASSES)
        features = (3 + centres[labels] + rng.normal(size=(count, width))).astype(np.float32)
        for number, rows in enumerate(kept_features.chunks(count)):
            kept_features.write_chunk(folder, part, number, features[rows], labels[rows])
        parts[part] = Arrays(features[:, None, None], labels)
    sha256 = {part: digest(arrays) for part, arrays in parts.items()}
    names = None if names is None else tuple(names)
    kept_features.write_index(folder, Index({}, CLASSES, width, dict(counts), sha256, names))
    return parts
