"""Data sets from tensorflow-datasets: downloaded and decoded once."""

import contextlib
import difflib
import glob
import logging
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from cifar_jax import files
from cifar_jax.data import cache, decoding, metadata, records
from cifar_jax.data.arrays import too_large
from cifar_jax.errors import UserError, first_line, nearest

SPLITS = ('train', 'test')
TIMEOUT = 5.0  # seconds to connect, and seconds to wait for an answer

log = logging.getLogger('cifar_jax')


class Recipe(NamedTuple):
    """A data set in the catalogue.

    name: its name in the catalogue. url: the file that preparing it downloads; '' is looked up.
    labels: our kind of labels ('fine', 'coarse') -> the name of the feature; if empty, 'fine' is
      the label according to the set's metadata.
    """

    name: str
    url: str = ''
    labels: Mapping[str, str] = MappingProxyType({})


def load(
    recipe: Recipe,
    data_dir: str,
    memory_gb: float,
    image_size: int = 0,
    resize: str = 'stretch',
    whole: bool = True,
) -> cache.Decoded:
    """Returns the decoded data set from the cache, from the prepared set, or after downloading it.

    TensorFlow is imported only if there is no cache yet. The cache is written beside the prepared
    set (`<data_dir>/<name>/<version>/cifar_jax-v1`, or `cifar_jax-v1-64` for images of size 64,
    `cifar_jax-v1-64-crop` if they are cropped). Images are converted to RGB and, unless
    `image_size` is 0, resized to that height and width: see `image_files.pixels`.

    A set of which the images take more than `memory_gb` is streamed: from its own files if it was
    prepared as array_record, or else from files in `cifar_jax-v1-streamed` (`-streamed-64`...).

    Args:
      memory_gb: memory for all images, in 2**30 bytes. A cache is memory-mapped, so its size is not
        compared.
      resize: as for `image_files.pixels`, if `image_size` is not 0.
      whole: whether the set must have a training and a test part; otherwise one is enough.

    Raises:
      UserError: there are no data and no network; a part is missing; the set is unknown, damaged or
        does not consist of images with one class each; or the images vary in size.
    """
    root = _root(Path(data_dir).expanduser() / recipe.name)
    folder = cache.FOLDER + cache.suffix(image_size, resize)
    cached = cache.newest(root, folder)
    if cached is not None:
        decoded = _read(cached / folder, _of(cached / folder, data_dir))
        if decoded is not None:
            parts = [part for part in SPLITS if f'{part}_images' in decoded.arrays]
            if whole and len(parts) < len(SPLITS):
                raise metadata.lacks_part(recipe.name, parts)
            return decoded
    version = prepared(recipe.name, data_dir)
    if version is None:
        version = prepare(recipe, Path(data_dir).expanduser())
    described = metadata.read(recipe.name, version, whole)
    size = metadata.size(recipe.name, described.features.shape, image_size)
    labels = recipe.labels or {'fine': described.features.label}
    total = metadata.decoded_bytes(described, size)
    streamed = too_large(total, memory_gb)
    if streamed and described.file_format == 'array_record':
        return decoding.open_records(version, described, labels, size, resize)
    if not streamed:
        log.info('Decoding %s in %s, once.', recipe.name, version)
        decoded = decoding.decode(version, described, labels, size, resize)
        cache.write(version / folder, decoded, _of(version / folder, data_dir))
        return decoded
    folder = cache.STREAMED + cache.suffix(image_size, resize)

    def collected(collect: records.Collect) -> cache.Decoded:
        return decoding.decode(version, described, labels, size, resize, collect)

    return cache.stream(version / folder, _of(version / folder, data_dir), total, collected)


def prepared(name: str, data_dir: str) -> Path | None:
    """Returns the folder of the newest version of a set that is prepared in a folder, or None."""
    return cache.newest(_root(Path(data_dir).expanduser() / name), metadata.INFO)


def check_name(name: str) -> None:
    """Raises UserError for an invalid name of a set; valid ones are 'NAME' and 'NAME/CONFIG'."""
    if not re.fullmatch(r'\w+(/\w[\w.+-]*)?', name):
        raise UserError(
            f"'{name}' cannot be a set's name: write --config.data.source=tfds:NAME or "
            'tfds:NAME/CONFIG; the newest version is used.'
        )


def look_up(name: str) -> Recipe:
    """Returns the recipe of 'NAME' or 'NAME/CONFIG', with its download address.

    Raises:
      UserError: the catalogue has no such set or config, or the set does not consist of images with
        one class each, which is checked before anything is downloaded.
    """
    tfds = decoding.catalogue()
    base, _, variant = name.partition('/')
    names = tfds.list_builders(with_community_datasets=False)
    if base not in names:
        close = difflib.get_close_matches(base.lower(), names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else 'https://www.tensorflow.org/datasets'
        raise UserError(f"tensorflow-datasets has no '{base}', and none is prepared: {hint}")
    try:
        configs = tfds.builder_cls(base).builder_configs
        if variant and variant not in configs:
            hint = nearest(variant, configs) if configs else f"write 'tfds:{base}'."
            raise UserError(f"'{base}' has no config '{variant}': {hint}")
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
    """Downloads and prepares a data set; returns the folder of its version."""
    url = recipe.url or look_up(recipe.name).url
    # If the archive is already in the download folder of TFDS, no network is needed.
    archive = url.rsplit('/', 1)[-1].split('.')[0]
    downloaded = archive and any(data_dir.glob(f'downloads/*{glob.escape(archive)}*'))
    problem = unreachable(url) if url and not downloaded else None
    if problem:
        raise _missing(recipe, data_dir, problem)
    log.info('Downloading and preparing %s in %s, once.', recipe.name, data_dir)
    tfds = decoding.tensorflow_datasets()
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.util import DownloadError

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        # Keep stdout for the command's own output and its --json line.
        with contextlib.redirect_stdout(sys.stderr):
            builder = tfds.builder(recipe.name, data_dir=data_dir)
            builder.download_and_prepare()
    # AssertionError is raised for sets that must be downloaded manually; its message says how.
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
    """Returns why `url` cannot be downloaded, or None; uses the same proxies as TFDS."""
    import requests

    def ask() -> None:
        try:
            with requests.get(url, stream=True, timeout=TIMEOUT) as answer:
                answers.append(None if answer.ok else f'{host} answers {answer.status_code}')
        except requests.RequestException:
            answers.append(f'{host} cannot be reached')

    host = url.split('/')[2]
    answers: list[str | None] = []
    # requests waits much longer for an unresponsive name server, so wait for the thread instead.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(3 * TIMEOUT)
    return answers[0] if answers else f'{host} does not answer'


def _root(root: Path) -> Path:
    """Returns the folder of a set's versions, below its default config if it has several."""
    try:
        stored = files.read_json(root / '.config' / 'metadata.json')
        return root / stored['default_config_name']
    except (files.FileError, KeyError, TypeError):
        return root


def _of(folder: Path, data_dir: str) -> str:
    """Returns what a cache is of: its place in the data folder, which may move as a whole."""
    return folder.relative_to(Path(data_dir).expanduser()).as_posix()


def _read(folder: Path, of: str) -> cache.Decoded | None:
    try:
        return cache.read(folder, of)
    except cache.DAMAGED as error:
        log.warning('The cache %s is damaged and created again: %s.', folder, first_line(error))
        cache.remove(folder)
        return None


def _missing(recipe: Recipe, data_dir: Path, problem: str) -> UserError:
    return UserError(
        f"The data set '{recipe.name}' is not in {data_dir} and cannot be downloaded ({problem}): "
        "train on the embedded digits (the config's ':digits' variant), or point "
        '--config.data.dir at a folder where tensorflow-datasets has prepared it.'
    )
