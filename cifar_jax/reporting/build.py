"""A workdir's report: its pictures as files, and all of it as one page."""

import logging
import pathlib
import time
from typing import Any

from cifar_jax import files
from cifar_jax.reporting import facts, page, pictures, style

log = logging.getLogger('cifar_jax')


def write(folder: pathlib.Path, split: str, data_dir: str | None = None) -> dict[str, Any]:
    """Writes the report of a run into its workdir, and returns its paths and headline numbers.

    The same workdir gives the same bytes. What the network says of the split is kept there: it is
    computed once, here or by `evaluate`.

    Args:
      split: 'train' (the training part), 'validation' or 'test': what the pictures are of.
      data_dir: of the data set, where it is no longer the config's.

    Raises:
      UserError: the workdir is missing, empty, damaged or of another version, or the data are.
    """
    log.info('%s: what the network says of the %s images', folder, split)
    run = facts.read(folder, split, data_dir)
    target = run.evaluated.workdir.report
    paths: list[pathlib.Path] = []
    sections: list[page.Section] = []
    for number, section in enumerate(pictures.SECTIONS, 1):
        began = time.perf_counter()
        shown = []
        with style.applied():
            for picture in section.draw(run):
                images = style.files(picture.figure)
                for suffix, content in images.items():
                    paths.append(target / f'{picture.name}.{suffix}')
                    files.write(paths[-1], content)
                shown.append(page.shown(picture, images['svg']))
        sections.append(page.Section(section.title, shown))
        log.info(
            '%d of %d: %s, %d pictures in %.1f s',
            *(number, len(pictures.SECTIONS), section.title, len(shown)),
            time.perf_counter() - began,
        )
    index = target / 'index.html'
    files.write(index, page.render(run, sections))
    return {
        'report': str(index),
        'pictures': list(map(str, paths)),
        'split': split,
        'images': len(run.evaluated.predictions.labels),
        **facts.headline(run),
        'sha256': run.evaluated.predictions.sha256,
    }
