"""Lists the image files in a folder that holds a folder for each class."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifar_jax.data import image_files
from cifar_jax.errors import UserError

log = logging.getLogger('cifar_jax')


class Files(NamedTuple):
    """The images of a part: their files, their names relative to it, and their labels int32[n].

    root: the folder of the class folders. drawn: the part that was drawn from it; '' for all.
    """

    paths: list[Path]
    names: list[str]
    labels: np.ndarray
    root: Path
    drawn: str = ''

    def take(self, rows: np.ndarray) -> 'Files':
        """Returns the files of some rows."""
        return self._replace(
            paths=[self.paths[row] for row in rows],
            names=[self.names[row] for row in rows],
            labels=self.labels[rows],
        )


def classes(folder: Path, fewest: int = 2) -> tuple[list[str], Files]:
    """Returns the sorted names of the class folders, and their files.

    Raises:
      UserError: there are fewer class folders than `fewest`, a class has no image, or there is a
        symbolic link.
    """
    names = subfolders(folder)
    if len(names) < fewest:
        content = f"the class folder '{names[0]}' alone" if names else 'no class folders'
        raise UserError(
            f'{folder} holds {content}: it needs a folder of images for each class'
            f'{", and two classes or more" if fewest > 1 else ""}.'
        )
    paths: list[Path] = []
    labels: list[int] = []
    ignored = 0
    for label, name in enumerate(names):
        all_files = sorted(_walk(folder / name), key=lambda path: _name(folder, path))
        images = [path for path in all_files if _is_image(path)]
        if not images:
            raise UserError(
                f"The class '{name}' in {folder} has no image ({', '.join(image_files.SUFFIXES)}): "
                'add some, or remove its folder.'
            )
        paths += images
        labels += [label] * len(images)
        ignored += len(all_files) - len(images)
    if ignored:
        log.info('%s: %d hidden files and files that are not images are ignored.', folder, ignored)
    relative = [_name(folder, path) for path in paths]
    return names, Files(paths, relative, np.array(labels, np.int32), folder)


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _is_image(path: Path) -> bool:
    return not path.name.startswith('.') and image_files.is_image(path.name) and path.is_file()


def subfolders(folder: Path) -> list[str]:
    """Returns the sorted names of the folders in a folder, without hidden ones and links."""
    names = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.')]
    for name in names:
        _refuse_link(folder / name)
    return sorted(names)


def _walk(folder: Path) -> Iterator[Path]:
    """Yields all files below a folder, except those in hidden folders."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in (*folders, *files):
            _refuse_link(Path(parent, name))
        yield from (Path(parent, name) for name in files)


def _refuse_link(path: Path) -> None:
    """Raises UserError for a link, which could lead out of the folder or to another part."""
    if path.is_symlink():
        raise UserError(
            f'{path} is a symbolic link, which is not followed: replace it by a copy of its target '
            '(cp -rL follows links).'
        )


def _raise(error: OSError) -> None:
    raise error
