"""Sets that tensorflow-datasets has prepared: decoded by TensorFlow, or read from ArrayRecord."""

import contextlib
import functools
import hashlib
import io
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cifar_jax import files
from cifar_jax.data import cache, image_files, metadata, progress, records
from cifar_jax.errors import UserError, first_line

_LABELS = f'{cache.FOLDER}-labels'


def decode(
    version: Path,
    described: metadata.Metadata,
    labels: Mapping[str, str],
    size: tuple[int, int],
    resize: str = 'stretch',
    collect: records.Collect = records.in_memory,
) -> cache.Decoded:
    """Decodes a prepared set, in record order, with tensorflow-datasets.

    Args:
      labels: our kind of labels -> the name of the feature.
      size, resize: of the decoded images, see `image_files.pixels`.
      collect: collects the images of a part.

    Raises:
      UserError: a record is damaged, the format cannot be read, or an image has no label.
    """
    if described.file_format == 'array_record':
        return _collected(open_records(version, described, labels, size, resize), collect)
    tfds = tensorflow_datasets()
    import tensorflow as tf

    arrays: dict[str, records.Images] = {}
    try:
        builder = tfds.builder_from_directory(version)
        features = builder.info.features
        for part, (split, count) in described.splits.items():
            kinds = {kind: np.zeros(count, np.int32) for kind in labels}
            read = _records(builder, split, described.features, [*labels.values()])
            tracked = progress.track(read, count, f'decoding {split}')
            images = (
                image_files.from_array(record[described.features.image], size, resize)
                for record in _keeping_labels(tracked, labels, kinds)
            )
            shape = (count, *size, 3)
            arrays[f'{part}_images'] = collect(f'{part}_images', images, shape)
            _refuse_unlabelled(version, split, kinds)
            arrays |= {f'{part}_{kind}': array for kind, array in kinds.items()}
    except NotImplementedError as error:
        raise UserError(
            f'The set in {version} is prepared as {builder.info.file_format.value}, which cannot '
            'be decoded here: point --config.data.dir to a folder that has it as tfrecord, or to '
            'an empty one, where it is prepared again.'
        ) from error
    except tf.errors.OpError as error:
        # '{{function_node ...}} corrupted record at 0 [Op:IteratorGetNext] name: '
        reason = re.sub(r'{{.*?}}|\[Op:.*', '', first_line(error)).strip(' .')
        raise metadata.damaged(version, reason) from error
    except files.DAMAGE as error:
        raise metadata.damaged(version, error) from error
    return cache.Decoded(arrays, {kind: features[name].names for kind, name in labels.items()})


def _keeping_labels(
    read: Iterable[Mapping[str, Any]], labels: Mapping[str, str], kinds: Mapping[str, np.ndarray]
) -> Iterator[Mapping[str, Any]]:
    """Yields each record, and puts its labels into the arrays of `kinds`."""
    for row, record in enumerate(read):
        for kind, label in labels.items():
            kinds[kind][row] = record[label]
        yield record


def _records(
    builder: Any, split: str, features: metadata.Features, labels: list[str]
) -> Iterator[dict[str, Any]]:
    """Yields the image and the labels of each record, in order."""
    import tensorflow_datasets as tfds

    decoded_features = dict.fromkeys((features.image, *labels), True)
    varies = min(features.shape) < 1
    # Images of equal size are read in batches, which is several times as fast.
    read_size = 1 if varies else max(1, min(500, 2**24 // math.prod(features.shape)))
    batches = builder.as_dataset(
        split=split,
        batch_size=read_size,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        decoders=tfds.decode.PartialDecoding(decoded_features),
    )
    for batch in batches.as_numpy_iterator():
        for row in range(len(batch[features.image])):
            yield {name: batch[name][row] for name in decoded_features}


def open_records(
    version: Path,
    described: metadata.Metadata,
    labels: Mapping[str, str],
    size: tuple[int, int],
    resize: str = 'stretch',
) -> cache.Decoded:
    """Opens a set that was prepared as array_record; TensorFlow is not needed.

    An image is decoded whenever it is read. The labels are read once, and kept in
    `cifar_jax-v1-labels` beside the set (`-labels-64` for images of 64x64...).

    Args:
      labels, size, resize: as for `decode`.

    Raises:
      UserError: a record is damaged, or an image has no label.
    """
    tfds = catalogue()
    try:
        features = tfds.builder_from_directory(version).info.features
        folder = version / (_LABELS + cache.suffix(size[0], resize))
        kinds = _labels(folder, version, described, labels)
    except (*files.DAMAGE, AttributeError) as error:
        raise metadata.damaged(version, error) from error
    arrays: dict[str, records.Images] = {**kinds}
    pixels = functools.partial(_pixels, feature=described.features.image, size=size, resize=resize)
    for part, (split, count) in described.splits.items():
        arrays[f'{part}_images'] = records.Records(
            _source(version, split, described.features.image, [*labels.values()]),
            (count, *size, 3),
            folder / split,
            pixels,
            functools.partial(metadata.damaged, version),
        )
    return cache.Decoded(arrays, {kind: features[name].names for kind, name in labels.items()})


def _labels(
    folder: Path, version: Path, described: metadata.Metadata, labels: Mapping[str, str]
) -> Mapping[str, np.ndarray]:
    """Returns '{part}_{kind}' -> labels int32[n] of each part, from their cache if there is one."""
    of = _identity(version)
    with contextlib.suppress(*cache.DAMAGED):
        return {name: np.asarray(array) for name, array in cache.read(folder, of).arrays.items()}
    cache.remove(folder)
    arrays: dict[str, np.ndarray] = {}
    for part, (split, count) in described.splits.items():
        source = _source(version, split, described.features.image, [*labels.values()])
        if len(source) != count:
            raise ValueError(f"'{split}' has {len(source)} images and not {count}")
        kinds = {kind: np.zeros(count, np.int32) for kind in labels}
        read = (source[row] for row in range(count))
        tracked = progress.track(read, count, f'reading the labels of {split}')
        for _ in _keeping_labels(tracked, labels, kinds):
            pass
        _refuse_unlabelled(version, split, kinds)
        arrays |= {f'{part}_{kind}': array for kind, array in kinds.items()}
    cache.write(folder, cache.Decoded(arrays, {}), of)
    return arrays


def _identity(version: Path) -> str:
    """Returns a digest of the names, sizes and times of the files of a set."""
    facts = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(version.iterdir())
        if path.is_file()
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _source(version: Path, split: str, image: str, labels: Sequence[str]) -> Any:
    """Returns the records of a split: the bytes of the image, and its labels."""
    tfds = catalogue()
    builder = tfds.builder_from_directory(version)
    skipped = {*builder.info.features} - {*labels}
    return builder.as_data_source(
        split, decoders=dict.fromkeys(skipped | {image}, tfds.decode.SkipDecoding())
    )


def _pixels(
    record: Mapping[str, Any], feature: str, size: tuple[int, int], resize: str
) -> UInt8[np.ndarray, 'h w 3']:
    from PIL import Image

    with Image.open(io.BytesIO(record[feature]), formats=list(image_files.SUFFIXES)) as image:
        return image_files.pixels(image, size, resize)


def _collected(decoded: cache.Decoded, collect: records.Collect) -> cache.Decoded:
    """Returns a decoded set with the images that `collect` returns."""
    arrays = dict(decoded.arrays)
    for name, images in decoded.arrays.items():
        if isinstance(images, records.Records):
            read = progress.track(records.one_by_one(images), len(images), name)
            arrays[name] = collect(name, read, images.shape)
    return decoded._replace(arrays=arrays)


def _refuse_unlabelled(version: Path, split: str, kinds: Mapping[str, np.ndarray]) -> None:
    if any(array.min() < 0 for array in kinds.values()):
        raise UserError(f"'{split}' of {version} has images without a label: choose another set.")


def catalogue() -> ModuleType:
    """Imports tensorflow-datasets without its warnings; it imports TensorFlow lazily."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import tensorflow_datasets as tfds
    return tfds


def tensorflow_datasets() -> ModuleType:
    """Imports tensorflow-datasets and TensorFlow without warnings, and without accelerators."""
    tfds = catalogue()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import tensorflow as tf
    # TensorFlow would occupy the GPU memory that JAX needs.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], 'GPU')
    return tfds
