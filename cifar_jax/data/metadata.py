"""What a set of tensorflow-datasets says of itself: read from its JSON, without TensorFlow."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cifar_jax.errors import UserError, first_line

INFO = 'dataset_info.json'
HELD_OUT = ('test', 'validation')  # what serves as the test part, the first that there is


class Features(NamedTuple):
    """The features that hold images and labels, and the images' [h w c]; -1 where they vary."""

    image: str
    label: str
    shape: tuple[int, ...]


class Metadata(NamedTuple):
    """A prepared set: its features and, for our 'train' and 'test', its split and how many."""

    features: Features
    splits: Mapping[str, tuple[str, int]]


def read(name: str, version: Path) -> Metadata:
    """Reads dataset_info.json and features.json of a prepared set.

    Raises:
      UserError: they are damaged, or the set has no image with one label, or no test part.
    """
    try:
        info = json.loads((version / INFO).read_text())
        specs = json.loads((version / 'features.json').read_text())['featuresDict']['features']
        keys = [item['featureKey'] for item in _supervised(info)]
        counts = {s['name']: sum(map(int, s.get('shardLengths', []))) for s in info['splits']}
        found = features(name, specs, keys)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(version, error) from error
    held_out = next((split for split in HELD_OUT if counts.get(split)), None)
    if not counts.get('train') or held_out is None:
        raise UserError(
            f"'{name}' has not both a 'train' and a 'test' or 'validation' split, but "
            f'{", ".join(map(repr, counts)) or "none"}: choose another set.'
        )
    parts = {'train': ('train', counts['train']), 'test': (held_out, counts[held_out])}
    return Metadata(found, parts)


def features(name: str, specs: Mapping[str, Any], supervised: Sequence[str]) -> Features:
    """Finds the image and its label: those that the set is supervised with, or named so, or alone.

    Args:
      specs: name of feature -> what features.json says of it.
      supervised: the names of the features that the set is meant to be learned with.

    Raises:
      UserError: no image, or not one class for an image, or pixels that are not bytes.
    """
    image = _chosen([k for k, spec in specs.items() if 'image' in spec], [*supervised, 'image'])
    label = _chosen(
        [k for k, spec in specs.items() if 'classLabel' in spec], [*supervised, 'label']
    )
    if image is None or label is None:
        lacks = 'image' if image is None else 'class'
        raise UserError(
            f"'{name}' is no set of images with a class each: which {lacks} would be meant is not "
            f'plain from its features ({", ".join(sorted(specs))}); choose another set.'
        )
    spec = specs[image]['image']
    shape = tuple(map(int, spec['shape']['dimensions']))
    if spec.get('dtype', 'uint8') != 'uint8' or shape[2:] not in ((1,), (3,), (4,)):
        raise UserError(
            f"The images of '{name}' are {spec.get('dtype')} of {shape[-1]} channels: only bytes "
            'of 1, 3 or 4 channels can be read; choose another set.'
        )
    return Features(image, label, shape)


def size(name: str, shape: Sequence[int], image_size: int) -> tuple[int, int]:
    """Returns the height and width that the images of a set are decoded at.

    Args:
      shape: their [h w c], -1 where it varies.
      image_size: the height and width asked for; 0 keeps the set's own.

    Raises:
      UserError: they vary, and `image_size` is 0.
    """
    if image_size:
        return image_size, image_size
    height, width, _ = shape
    if min(height, width) < 1:
        raise UserError(
            f"The images of '{name}' vary in size: give them one, such as "
            '--config.data.image_size=64.'
        )
    return height, width


def decoded_bytes(metadata: Metadata, shape: tuple[int, int]) -> int:
    """Returns the bytes of all images as RGB of [h w], from the metadata alone."""
    return 3 * math.prod(shape) * sum(count for _, count in metadata.splits.values())


def damaged(version: Path, error: Exception) -> UserError:
    """Returns what to say of a prepared set that cannot be read."""
    return UserError(
        f'The prepared data set in {version} cannot be read ({first_line(error)}): delete that '
        'folder, and it is downloaded and prepared anew.'
    )


def _supervised(info: Mapping[str, Any]) -> list[dict[str, str]]:
    items = info.get('supervisedKeys', {}).get('tuple', {}).get('items', [])
    return [item for item in items if 'featureKey' in item]


def _chosen(found: Sequence[str], preferred: Sequence[str]) -> str | None:
    alone = found[0] if len(found) == 1 else None
    return next((key for key in preferred if key in found), alone)
