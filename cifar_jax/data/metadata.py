"""Metadata of a prepared tensorflow-datasets set, read from its JSON without TensorFlow."""

import math
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cifar_jax import files
from cifar_jax.errors import UserError, first_line

INFO = 'dataset_info.json'
HELD_OUT = ('test', 'validation')  # splits that can be the test part, in order of preference


class Features(NamedTuple):
    """The names of the image and label features, and the images' [h w c], -1 where it varies."""

    image: str
    label: str
    shape: tuple[int, ...]


class Metadata(NamedTuple):
    """A prepared set: its features, and for 'train' and 'test' the split's name and its size.

    A part that the set lacks has no entry. file_format: 'tfrecord', 'array_record'...
    """

    features: Features
    splits: Mapping[str, tuple[str, int]]
    file_format: str = ''


def read(name: str, version: Path, whole: bool = True) -> Metadata:
    """Reads dataset_info.json and features.json of a prepared set.

    Args:
      whole: whether the set must have both parts, as training needs; otherwise one is enough.

    Raises:
      UserError: the files are damaged, or the set has no image with one label, or lacks a part.
    """
    for path in sorted(version.iterdir()):
        if _is_special(path):  # Reading a pipe might never end.
            raise damaged(version, f'{path.name} is not a regular file')
    try:
        info = files.read_json(version / INFO)
        specs = files.read_json(version / 'features.json')['featuresDict']['features']
        keys = [item['featureKey'] for item in _supervised(info)]
        counts = {s['name']: sum(map(int, s.get('shardLengths', []))) for s in info['splits']}
        image_features = features(name, specs, keys)
    except files.FileError as error:
        raise damaged(version, f'{error.path.name} {error.reason}') from error
    except (*files.DAMAGE, AttributeError) as error:
        raise damaged(version, error) from error
    held_out = next((split for split in HELD_OUT if counts.get(split)), None)
    named = {'train': 'train' if counts.get('train') else None, 'test': held_out}
    parts = {part: (split, counts[split]) for part, split in named.items() if split}
    if len(parts) < (2 if whole else 1):
        raise lacks_part(name, counts, whole)
    return Metadata(image_features, parts, str(info.get('fileFormat', '')))


def lacks_part(name: str, splits: Iterable[str], whole: bool = True) -> UserError:
    """Returns the error for a set without a part; see `read`."""
    return UserError(
        f"'{name}' needs a 'train' {'and' if whole else 'or'} a 'test' or 'validation' split, "
        f'but has {", ".join(map(repr, splits)) or "none"}: choose another set.'
    )


def features(name: str, specs: Mapping[str, Any], supervised: Sequence[str]) -> Features:
    """Finds the image and label features: the supervised ones, or by name, or the only ones.

    Args:
      specs: name of feature -> its entry in features.json.
      supervised: names of the features for supervised learning.

    Raises:
      UserError: there is no image, no single class per image, or pixels are not bytes.
    """
    image = _preferred([k for k, spec in specs.items() if 'image' in spec], [*supervised, 'image'])
    label = _preferred(
        [k for k, spec in specs.items() if 'classLabel' in spec], [*supervised, 'label']
    )
    if image is None or label is None:
        missing = 'image' if image is None else 'class'
        raise UserError(
            f"'{name}' is not a set of images with one class each: its {missing} is not clear "
            f'from its features ({", ".join(sorted(specs))}); choose another set.'
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
    """Returns the height and width of the decoded images of a set.

    Args:
      shape: the images' [h w c], -1 where it varies.
      image_size: the requested height and width; 0 keeps the set's own.

    Raises:
      UserError: the sizes vary, and `image_size` is 0.
    """
    if image_size:
        return image_size, image_size
    height, width, _ = shape
    if min(height, width) < 1:
        raise UserError(
            f"The images of '{name}' vary in size: choose one, such as --config.data.image_size=64."
        )
    return height, width


def decoded_bytes(metadata: Metadata, shape: tuple[int, int]) -> int:
    """Returns the size in bytes of all images as RGB of [h w]."""
    return 3 * math.prod(shape) * sum(count for _, count in metadata.splits.values())


def _is_special(path: Path) -> bool:
    """Returns whether a path is neither a file nor a folder; one that is gone by now is not."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def damaged(version: Path, why: Exception | str) -> UserError:
    """Returns the error for a prepared set that cannot be read."""
    why = why if isinstance(why, str) else first_line(why)
    return UserError(
        f'The prepared data set in {version} cannot be read ({why}): delete that '
        'folder, and it is downloaded and prepared again.'
    )


def _supervised(info: Mapping[str, Any]) -> list[dict[str, str]]:
    items = info.get('supervisedKeys', {}).get('tuple', {}).get('items', [])
    return [item for item in items if 'featureKey' in item]


def _preferred(candidates: Sequence[str], preferred: Sequence[str]) -> str | None:
    only = candidates[0] if len(candidates) == 1 else None
    return next((key for key in preferred if key in candidates), only)
