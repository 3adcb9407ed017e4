"""Sets from tensorflow-datasets' catalogue: downloaded once, decoded once, then only mapped."""

import contextlib
import difflib
import glob
import json
import logging
import math
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from cifar_jax.data import cache, image_files, metadata, progress
from cifar_jax.data.arrays import check_memory
from cifar_jax.errors import UserError, first_line, nearest

SPLITS = ('train', 'test')
PATIENCE = 5.0  # seconds to connect, and again to be answered

log = logging.getLogger('cifar_jax')


class Recipe(NamedTuple):
    """A data set in the catalogue.

    name: its name there. url: what preparing it downloads; '' is looked up.
    labels: our kind of labels ('fine', 'coarse') -> the name of the feature there; empty: 'fine' is
      the one that the set's own metadata tells.
    """

    name: str
    url: str = ''
    labels: Mapping[str, str] = MappingProxyType({})


def load(recipe: Recipe, data_dir: str, memory_gb: float, image_size: int = 0) -> cache.Decoded:
    """Returns the decoded data set: from the cache, or from the prepared set, or downloaded.

    TensorFlow is imported only where there is no cache yet, which is then written beside the
    prepared set (`<data_dir>/<name>/<version>/cifar_jax-v1`, `cifar_jax-v1-64` for images of 64).
    Images become RGB and, where `image_size` is not 0, of that height and width: see
    `image_files.pixels`.

    Raises:
      UserError: no data and no network; a set that is unknown, damaged or not of images with a
        class each; images that vary in size, or larger than `memory_gb` (of 2**30 bytes), where
        they would have to be decoded: a cache takes no memory until it is read.
    """
    root = _root(Path(data_dir).expanduser() / recipe.name)
    folder = f'{cache.FOLDER}-{image_size}' if image_size else cache.FOLDER
    cached = cache.newest(root, folder)
    if cached is not None:
        decoded = _read(cached / folder)
        if decoded is not None:
            return decoded
    version = cache.newest(root, metadata.INFO)
    if version is None:
        version = prepare(recipe, Path(data_dir).expanduser())
    found = metadata.read(recipe.name, version)
    size = metadata.size(recipe.name, found.features.shape, image_size)
    check_memory(recipe.name, metadata.decoded_bytes(found, size), memory_gb)
    log.info('Decoding %s in %s, once.', recipe.name, version)
    decoded = decode(version, found, recipe.labels or {'fine': found.features.label}, size)
    cache.write(version / folder, decoded)
    return decoded


def check_name(name: str) -> None:
    """Raises UserError for what cannot be the name of a set, 'NAME' or 'NAME/CONFIG'."""
    if not re.fullmatch(r'\w+(/\w[\w.+-]*)?', name):
        raise UserError(
            f"'{name}' cannot be a set's name: write --config.data.source=tfds:NAME or "
            'tfds:NAME/CONFIG; the newest version is taken.'
        )


def look_up(name: str) -> Recipe:
    """Returns the recipe of 'NAME' or 'NAME/CONFIG', with the address that it downloads from.

    Raises:
      UserError: the catalogue has no such set or config, or the set is not of images with a class
        each, which is known before anything is downloaded.
    """
    tfds = _catalogue()
    own, _, variant = name.partition('/')
    known = tfds.list_builders(with_community_datasets=False)
    if own not in known:
        close = difflib.get_close_matches(own.lower(), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else 'https://www.tensorflow.org/datasets'
        raise UserError(f"tensorflow-datasets has no '{own}', and none is prepared: {hint}")
    try:
        configs = tfds.builder_cls(own).builder_configs
        if variant and variant not in configs:
            hint = nearest(variant, configs) if configs else f"write 'tfds:{own}'."
            raise UserError(f"'{own}' has no config '{variant}': {hint}")
        builder = tfds.builder(name)
        content = builder.info.features.to_json()['content']
    except ImportError as error:
        raise UserError(f"'{name}' needs another package: {first_line(error)}.") from error
    specs = content.get('features', {}) if isinstance(content, Mapping) else {}
    keys = [key for key in builder.info.supervised_keys or () if isinstance(key, str)]
    metadata.features(name, specs, keys)
    web = (url for url in builder.url_infos or () if url.startswith('http'))
    return Recipe(name, next(web, ''))


def prepare(recipe: Recipe, data_dir: Path) -> Path:
    """Downloads and prepares a data set; returns its version's folder."""
    url = recipe.url or look_up(recipe.name).url
    # An archive that was put into TFDS's download folder needs no network.
    archive = url.rsplit('/', 1)[-1].split('.')[0]
    there = archive and any(data_dir.glob(f'downloads/*{glob.escape(archive)}*'))
    problem = unreachable(url) if url and not there else None
    if problem:
        raise _missing(recipe, data_dir, problem)
    log.info('Downloading and preparing %s in %s, once.', recipe.name, data_dir)
    tfds = _tensorflow_datasets()
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.util import DownloadError

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        # A command's own output, and its --json line, stay on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            builder = tfds.builder(recipe.name, data_dir=data_dir)
            builder.download_and_prepare()
    # An assertion: a set that a person has to download, which says how.
    except (
        OSError,
        ImportError,
        AssertionError,
        DownloadError,
        NonMatchingChecksumError,
    ) as error:
        raise _missing(recipe, data_dir, first_line(error)) from error
    return Path(builder.data_dir)


def unreachable(url: str) -> str | None:
    """Returns why `url` cannot be had, or None; asks as TFDS will, proxies included."""
    import requests

    def ask() -> None:
        try:
            with requests.get(url, stream=True, timeout=PATIENCE) as answer:
                answers.append(None if answer.ok else f'{host} answers {answer.status_code}')
        except requests.RequestException:
            answers.append(f'{host} cannot be reached')

    host = url.split('/')[2]
    answers: list[str | None] = []
    # A name server that stays silent is waited for much longer, but not by us.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(3 * PATIENCE)
    return answers[0] if answers else f'{host} does not answer'


def decode(
    version: Path,
    described: metadata.Metadata,
    labels: Mapping[str, str],
    size: tuple[int, int],
) -> cache.Decoded:
    """Decodes a prepared set, in record order, with tensorflow-datasets.

    Args:
      labels: our kind of labels -> the feature there.
      size: the height and width that the images get.

    Raises:
      UserError: a damaged record, a format that cannot be read, an image without a label.
    """
    tfds = _tensorflow_datasets()
    import tensorflow as tf

    arrays: dict[str, np.ndarray] = {}
    try:
        builder = tfds.builder_from_directory(version)
        features = builder.info.features
        for part, (split, count) in described.splits.items():
            images = np.empty((count, *size, 3), np.uint8)
            kinds = {kind: np.empty(count, np.int32) for kind in labels}
            records = _records(builder, split, described.features, [*labels.values()])
            shown = progress.shown(records, count, f'decoding {split}')
            for row, record in enumerate(shown):
                images[row] = image_files.from_array(record[described.features.image], size)
                for kind, feature in labels.items():
                    kinds[kind][row] = record[feature]
            if any(array.min() < 0 for array in kinds.values()):
                raise UserError(
                    f"'{split}' of {version} has images without a label: choose another set."
                )
            arrays[f'{part}_images'] = images
            arrays |= {f'{part}_{kind}': array for kind, array in kinds.items()}
    except NotImplementedError as error:
        raise UserError(
            f'The set in {version} is prepared as {builder.info.file_format.value}, which cannot '
            'be decoded here: point --config.data.dir at a folder that has it as tfrecord, or at '
            'an empty one, where it is prepared anew.'
        ) from error
    except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
        raise metadata.damaged(version, error) from error
    return cache.Decoded(arrays, {kind: features[name].names for kind, name in labels.items()})


def _records(
    builder: Any, split: str, features: metadata.Features, labels: list[str]
) -> Iterator[dict[str, Any]]:
    """Yields the image and the labels of each record, in order."""
    import tensorflow_datasets as tfds

    wanted = dict.fromkeys((features.image, *labels), True)
    varies = min(features.shape) < 1
    # Images of one size come many at once, which is several times as fast.
    together = 1 if varies else max(1, min(500, 2**24 // math.prod(features.shape)))
    batches = builder.as_dataset(
        split=split,
        batch_size=together,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        decoders=tfds.decode.PartialDecoding(wanted),
    )
    for batch in batches.as_numpy_iterator():
        for row in range(len(batch[features.image])):
            yield {name: batch[name][row] for name in wanted}


def _root(root: Path) -> Path:
    """Returns the folder of a set's versions, below its default config where it has several."""
    try:
        chosen = json.loads((root / '.config' / 'metadata.json').read_text())
        return root / chosen['default_config_name']
    except (OSError, ValueError, KeyError, TypeError):
        return root


def _read(folder: Path) -> cache.Decoded | None:
    try:
        return cache.read(folder)
    except cache.DAMAGED as error:
        log.warning('The cache %s is damaged and made anew: %s.', folder, first_line(error))
        cache.remove(folder)
        return None


def _catalogue() -> ModuleType:
    """Imports tensorflow-datasets, quietly; it imports TensorFlow where it needs it."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import tensorflow_datasets as tfds
    return tfds


def _tensorflow_datasets() -> ModuleType:
    """Imports tensorflow-datasets and TensorFlow, quietly, and hides the accelerators from it."""
    tfds = _catalogue()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import tensorflow as tf
    # TensorFlow would take the memory that JAX trains in.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], 'GPU')
    return tfds


def _missing(recipe: Recipe, data_dir: Path, problem: str) -> UserError:
    return UserError(
        f"The data set '{recipe.name}' is not in {data_dir} and cannot be downloaded ({problem}): "
        "train on the embedded digits (the config's ':digits' variant), or point "
        '--config.data.dir at a folder where tensorflow-datasets has prepared it.'
    )
