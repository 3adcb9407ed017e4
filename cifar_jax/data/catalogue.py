"""Sets from tensorflow-datasets' catalogue: downloaded once, decoded once, then only mapped."""

import contextlib
import json
import logging
import math
import os
import sys
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from cifar_jax.data import cache
from cifar_jax.errors import UserError

SPLITS = ('train', 'test')
PATIENCE = 5.0  # seconds to connect, and again to be answered

log = logging.getLogger('cifar_jax')


class Recipe(NamedTuple):
    """A data set in the catalogue.

    name: its name there. url: the archive that preparing it downloads.
    labels: our kind of labels ('fine', 'coarse') -> the name of the feature there.
    """

    name: str
    url: str
    labels: Mapping[str, str]


def load(recipe: Recipe, data_dir: str, memory_gb: float) -> cache.Decoded:
    """Returns the decoded data set: from the cache, or from the prepared set, or downloaded.

    TensorFlow is imported only where there is no cache yet, which is then written beside the
    prepared set (`<data_dir>/<name>/<version>/cifar_jax-v1`).

    Raises:
      UserError: no data and no network; a damaged set; images larger than `memory_gb` (of 2**30
        bytes), where they would have to be decoded: a cache takes no memory until it is read.
    """
    root = Path(data_dir).expanduser() / recipe.name
    cached = cache.newest(root, cache.FOLDER)
    if cached is not None:
        decoded = _read(cached / cache.FOLDER)
        if decoded is not None:
            return decoded
    version = cache.newest(root, 'dataset_info.json') or prepare(recipe, root.parent)
    check_memory(recipe.name, decoded_bytes(version), memory_gb)
    log.info('Decoding %s in %s, once.', recipe.name, version)
    decoded = decode(version, recipe.labels)
    cache.write(version / cache.FOLDER, decoded)
    return decoded


def check_memory(name: str, size: int, memory_gb: float) -> None:
    """Raises UserError where `size` bytes of decoded images exceed `memory_gb` times 2**30."""
    if size > memory_gb * 2**30:
        raise UserError(
            f"The images of '{name}' take {size / 2**30:.3g} GB decoded, more than the "
            f'{memory_gb:g} GB allowed: raise it with --config.data.memory_gb, or choose a smaller '
            'set.'
        )


def decoded_bytes(version: Path) -> int:
    """Returns the bytes of a prepared set's decoded images, from its metadata alone."""
    try:
        info = json.loads((version / 'dataset_info.json').read_text())
        features = json.loads((version / 'features.json').read_text())['featuresDict']['features']
        shape = features['image']['image']['shape']['dimensions']
        shards = [s['shardLengths'] for s in info['splits'] if s['name'] in SPLITS]
        return sum(int(n) for lengths in shards for n in lengths) * math.prod(map(int, shape))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(version, error) from error


def prepare(recipe: Recipe, data_dir: Path) -> Path:
    """Downloads and prepares a data set; returns its version's folder."""
    # An archive that was put into TFDS's download folder needs no network.
    archive = recipe.url.rsplit('/', 1)[-1].split('.')[0]
    problem = None if [*data_dir.glob(f'downloads/*{archive}*')] else unreachable(recipe.url)
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
    except (OSError, DownloadError, NonMatchingChecksumError) as error:
        raise _missing(recipe, data_dir, _first_line(error)) from error
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


def decode(version: Path, labels: Mapping[str, str]) -> cache.Decoded:
    """Decodes a prepared set, in record order, with tensorflow-datasets."""
    tfds = _tensorflow_datasets()
    import tensorflow as tf

    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    arrays: dict[str, np.ndarray] = {}
    try:
        builder = tfds.builder_from_directory(version)
        features = builder.info.features
        for split in SPLITS:
            size = builder.info.splits[split].num_examples
            images = np.empty((size, *features['image'].shape), np.uint8)
            kinds = {kind: np.empty(size, np.int32) for kind in labels}
            batches = builder.as_dataset(split=split, batch_size=500, read_config=config)
            for i, batch in enumerate(batches.as_numpy_iterator()):
                rows = slice(500 * i, 500 * (i + 1))
                images[rows] = batch['image']
                for kind, feature in labels.items():
                    kinds[kind][rows] = batch[feature]
            arrays[f'{split}_images'] = images
            arrays |= {f'{split}_{kind}': array for kind, array in kinds.items()}
    except NotImplementedError as error:
        raise UserError(
            f'The set in {version} is prepared as {builder.info.file_format.value}, which cannot '
            'be decoded here: point --config.data.dir at a folder that has it as tfrecord, or at '
            'an empty one, where it is prepared anew.'
        ) from error
    except (tf.errors.OpError, OSError, ValueError, KeyError) as error:
        raise _damaged(version, error) from error
    return cache.Decoded(arrays, {kind: features[name].names for kind, name in labels.items()})


def _read(folder: Path) -> cache.Decoded | None:
    try:
        return cache.read(folder)
    except cache.DAMAGED as error:
        log.warning('The cache %s is damaged and made anew: %s.', folder, _first_line(error))
        cache.remove(folder)
        return None


def _tensorflow_datasets() -> ModuleType:
    """Imports tensorflow-datasets and TensorFlow, quietly, and hides the accelerators from it."""
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        import tensorflow as tf
        import tensorflow_datasets as tfds
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


def _damaged(version: Path, error: Exception) -> UserError:
    return UserError(
        f'The prepared data set in {version} cannot be read ({_first_line(error)}): delete that '
        'folder, and it is downloaded and prepared anew.'
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
