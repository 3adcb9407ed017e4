"""Writes the report of a workdir: its pictures as files, and one page with all of them."""

import logging
import pathlib
import time
from typing import Any

from cifar_jax import files
from cifar_jax.reporting import facts, page, pictures, style

log = logging.getLogger('cifar_jax')


def write(folder: pathlib.Path, split: str, data_dir: str | None = None) -> dict[str, Any]:
    """Writes the report of a run into its workdir, and returns its paths and headline numbers.

    The same workdir gives the same bytes. The predictions for the split are computed once, here or
    by `evaluate`, and stored in the workdir.

    Args:
      split: the images to report on: 'train' (without the validation images), 'validation' or
        'test'.
      data_dir: the directory of the data set, if it is no longer the config's.

    Raises:
      UserError: the workdir or the data are missing, damaged or of another version.
    """
    log.info('%s: computing or reading the predictions for the %s images', folder, split)
    report = facts.read(folder, split, data_dir)
    target = report.evaluated.workdir.report
    paths: list[pathlib.Path] = []
    sections: list[page.Section] = []
    for number, section in enumerate(pictures.SECTIONS, 1):
        start = time.perf_counter()
        embedded = []
        with style.applied():
            for picture in section.draw(report):
                images = style.files(picture.figure)
                for suffix, content in images.items():
                    paths.append(target / f'{picture.name}.{suffix}')
                    files.write(paths[-1], content)
                embedded.append(page.embed(picture, images['svg']))
        if embedded:
            sections.append(page.Section(section.title, embedded))
        log.info(
            '%d of %d: %s, %d pictures in %.1f s',
            *(number, len(pictures.SECTIONS), section.title, len(embedded)),
            time.perf_counter() - start,
        )
    index = target / 'index.html'
    files.write(index, page.render(report, sections))
    return {
        'report': str(index),
        'pictures': list(map(str, paths)),
        'split': split,
        'images': len(report.evaluated.predictions.labels),
        **facts.headline(report),
        'sha256': report.evaluated.predictions.sha256,
    }
