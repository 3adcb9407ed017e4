"""What a classifier says of image files, which need belong to no data set."""

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
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import predictions
from cifar_jax.machine import cores, keep_freed_memory, use_compilation_cache


class Answer(NamedTuple):
    """What a classifier says of an image."""

    path: pathlib.Path
    classes: tuple[str, ...]
    logits: Float32[np.ndarray, 'classes']

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the most probable classes and their probabilities, the first one first."""
        from scipy.special import softmax

        probabilities = softmax(self.logits.astype(np.float64))
        order = np.argsort(-probabilities, kind='stable')[:count]
        return [(self.classes[label], float(probabilities[label])) for label in order]

    def line(self, count: int) -> dict[str, Any]:
        """Returns `top` as JSON has it."""
        top = [{'class': name, 'probability': share} for name, share in self.top(count)]
        return {'image': str(self.path), 'top': top}

    def rows(self, count: int) -> list[tuple[str, str, str]]:
        """Returns `top` as lines of a table, of which the first one has the path."""
        # A name on disk may be no text at all.
        names = [os.fsencode(self.path).decode(errors='replace'), *[''] * (count - 1)]
        return [
            (name, kind, f'{share:.2%}')
            for name, (kind, share) in zip(names, self.top(count), strict=False)
        ]


def files(
    names: Sequence[pathlib.Path], standard_input: Callable[[], bytes]
) -> list[pathlib.Path | str]:
    """Returns the files that are meant by what a user names, or a sentence why there are none.

    A folder stands for the images in it at any depth, sorted; hidden ones are passed over, links to
    folders not followed. '-' stands for what `standard_input` reads: a path a line, or paths that
    end with NUL, as `find -print0` writes them.

    Raises:
      UserError: the list is empty.
    """
    found: list[pathlib.Path | str] = []
    for name in names:
        if str(name) == '-':
            text = standard_input()
            lines = text.split(b'\0' if b'\0' in text else b'\n')
            listed = [pathlib.Path(os.fsdecode(line)) for line in lines if line]
            found += [file for path in listed for file in _inside(path)]
        else:
            found += _inside(name)
    if not found:
        raise UserError('Standard input names no image: write a path a line.')
    return found


def _inside(path: pathlib.Path) -> Sequence[pathlib.Path | str]:
    if not path.is_dir():
        return [path]
    found: list[pathlib.Path] = []
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith('.')]
        wanted = [n for n in names if image_files.is_image(n) and not n.startswith('.')]
        found += [pathlib.Path(parent, name) for name in wanted]
    return sorted(found) or [f'{path} holds no image: {", ".join(image_files.SUFFIXES)} are read.']


def answers(
    folder: pathlib.Path, paths: Sequence[pathlib.Path | str], checkpoint: str = 'chosen'
) -> Iterator[Answer | str]:
    """Yields what the classifier of a workdir says of each file, in order.

    Of one that cannot be read that is a sentence; a sentence among `paths` stays what it is.
    A file becomes an image of the training's size by `image_files.read` and is normalised as it was
    in training, at most `eval_batch_size` at a time as in evaluate: memory does not grow with their
    number, and the images of a split get the same bits.

    Args:
      checkpoint: as `classifier.load` takes it.

    Raises:
      UserError: the workdir is missing or damaged, or its images are not square.
    """
    workdir = Workdir(folder)
    keep_freed_memory()
    classifier = classifiers.load(workdir, checkpoint)
    use_compilation_cache()
    height, width, _ = preprocessing.read(workdir).image_shape
    if height != width:
        raise UserError(
            f'{folder} was trained on images of {height} x {width}, and files are read as squares: '
            'train on a set of square images.'
        )
    logits_of = predictions.make_logits(classifier, len(paths))
    batch = classifier.config.eval_batch_size
    # Pillow decodes without Python's lock; what it warns of is read all the same.
    with warnings.catch_warnings(), ThreadPoolExecutor(len(cores())) as pool:
        warnings.simplefilter('ignore')
        for start in range(0, len(paths), batch):
            chunk = paths[start : start + batch]
            read = list(pool.map(lambda path: _read(path, height), chunk))
            images = [image for image in read if not isinstance(image, str)]
            logits = iter(logits_of(np.stack(images)) if images else ())
            for path, image in zip(chunk, read, strict=True):
                if isinstance(image, str):
                    yield image
                else:
                    assert isinstance(path, pathlib.Path)
                    yield Answer(path, classifier.classes, next(logits))


def _read(path: pathlib.Path | str, size: int) -> UInt8[np.ndarray, 'size size 3'] | str:
    if isinstance(path, str):
        return path
    try:
        return image_files.read(path, size)
    except UserError as error:
        return str(error)
