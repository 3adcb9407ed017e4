"""Predictions for image files."""

import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from cifar_jax.data import image_files
from cifar_jax.errors import UserError
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import predictions, pretrained
from cifar_jax.inference.classifier import Classifier
from cifar_jax.machine import cores, keep_freed_memory, use_compilation_cache


class Prediction(NamedTuple):
    """The prediction for an image file."""

    path: pathlib.Path
    classes: tuple[str, ...]
    logits: Float32[np.ndarray, 'classes']

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the most probable classes and their probabilities, in descending order."""
        from scipy.special import softmax

        probabilities = softmax(self.logits.astype(np.float64))
        order = np.argsort(-probabilities, kind='stable')[:count]
        return [(self.classes[label], float(probabilities[label])) for label in order]

    def line(self, count: int) -> dict[str, Any]:
        """Returns `top` as a dictionary for JSON."""
        top = [{'class': name, 'probability': probability} for name, probability in self.top(count)]
        return {'image': str(self.path), 'top': top}

    def rows(self, count: int) -> list[tuple[str, str, str]]:
        """Returns `top` as rows of a table; the first row has the path."""
        # The name of a file may not be valid text.
        names = [os.fsencode(self.path).decode(errors='replace'), *[''] * (count - 1)]
        return [
            (name, kind, f'{probability:.2%}')
            for name, (kind, probability) in zip(names, self.top(count), strict=False)
        ]


def files(
    names: Sequence[pathlib.Path], standard_input: Callable[[], bytes]
) -> list[pathlib.Path | str]:
    """Expands the paths that a user gives; an error becomes a sentence in the list.

    A folder means the images in it at any depth, sorted, without hidden files and without following
    links to folders. '-' means the paths from `standard_input`: one per line, or separated by NUL
    as written by `find -print0`.

    Raises:
      UserError: the list is empty.
    """
    paths: list[pathlib.Path | str] = []
    for name in names:
        if str(name) == '-':
            text = standard_input()
            lines = text.split(b'\0' if b'\0' in text else b'\n')
            listed = [pathlib.Path(os.fsdecode(line)) for line in lines if line]
            paths += [file for path in listed for file in _images_in(path)]
        else:
            paths += _images_in(name)
    if not paths:
        raise UserError('Standard input names no image: write one path per line.')
    return paths


def _images_in(path: pathlib.Path) -> Sequence[pathlib.Path | str]:
    if not path.is_dir():
        return [path]
    paths: list[pathlib.Path] = []
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith('.')]
        images = [n for n in names if image_files.is_image(n) and not n.startswith('.')]
        paths += [pathlib.Path(parent, name) for name in images]
    return sorted(paths) or [
        f'{path} holds no image: {", ".join(image_files.SUFFIXES)} are supported.'
    ]


def predict(
    folder: pathlib.Path, paths: Sequence[pathlib.Path | str], checkpoint: str = 'chosen'
) -> Iterator[Prediction | str]:
    """Returns the prediction for each file, in order, or a sentence if it cannot be read.

    Files are resized by `image_files.read` and normalised as in training, at most
    `eval_batch_size` at a time as in `evaluate`. So memory does not grow with their number, and the
    images of a split get the same bits as there.

    Args:
      paths: from `files`; sentences among them are yielded unchanged.
      checkpoint: as for `classifier.load`.

    Raises:
      UserError: the workdir is missing or damaged, or its images are not square.
    """
    workdir = Workdir(folder)
    keep_freed_memory()
    loaded = classifiers.load(workdir, checkpoint)
    classifier, (height, width, _) = classifiers.of_images(workdir, loaded)
    if height != width:
        raise UserError(
            f'{folder} was trained on images of {height} x {width}, and files are read as squares: '
            'train on a set of square images.'
        )
    return _classify(classifier, height, paths)


def predict_pretrained(
    name: str,
    source: str | None,
    paths: Sequence[pathlib.Path | str],
    resize: str | None = None,
) -> Iterator[Prediction | str]:
    """Yields the prediction of a published network for each file, as `predict` does.

    Args:
      name, source, resize: as for `pretrained.load`.
      paths: as for `predict`.

    Raises:
      UserError: there are no such weights, or they are damaged or of another network.
    """
    keep_freed_memory()
    classifier, size = pretrained.load(name, source, resize)
    return _classify(classifier, size, paths)


def _classify(
    classifier: Classifier, size: int, paths: Sequence[pathlib.Path | str]
) -> Iterator[Prediction | str]:
    use_compilation_cache()
    logits_of = predictions.make_logits(classifier, len(paths))
    batch, resize = classifier.config.eval_batch_size, classifier.config.data.resize
    # Pillow releases Python's global lock while decoding. Images with warnings are read too.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(cores())) as pool:
        warnings.simplefilter('ignore')
        for start in range(0, len(paths), batch):
            chunk = paths[start : start + batch]
            read = list(pool.map(lambda path: _read(path, size, resize), chunk))
            images = [image for image in read if not isinstance(image, str)]
            logits = iter(logits_of(np.stack(images)) if images else ())
            for path, image in zip(chunk, read, strict=True):
                if isinstance(image, str):
                    yield image
                else:
                    assert isinstance(path, pathlib.Path)
                    yield Prediction(path, classifier.classes, next(logits))


def _read(
    path: pathlib.Path | str, size: int, resize: str
) -> UInt8[np.ndarray, 'size size 3'] | str:
    if isinstance(path, str):
        return path
    try:
        return image_files.read(path, size, resize)
    except UserError as error:
        return str(error)
