"""One file of the cache of a decoded folder is damaged.

Training then gives the right numbers, since the images are decoded again, or refuses in a sentence.
"""

import itertools
import json
import pathlib
import random
import shutil
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cifar_jax.data import decoded_folders
from fault_campaigns import cached, damage, inputs, processes
from fault_campaigns.judge import Verdict, judge

NAMES = ('photos', 'others')
_IMAGES = {'train': 20, 'test': 4}  # of each class
_SIDE = 160  # those for training take more than `decoded_folders.LEAST` together
_KEYS = ('sha256', 'val_accuracy', 'val_loss')
# Images are in memory, or streamed from their cache where they may not be.
_FORMS = {'in memory': '4.0', 'streamed': '0.0001'}


class Reference(NamedTuple):
    """Two folders of photographs with their caches, in `folder`.

    expected: what training on the first of them says.
    """

    folder: pathlib.Path
    expected: dict[str, Any]


def reference(folder: pathlib.Path) -> Reference:
    """Writes the photographs, and trains so that they are cached; or reads what is left of that."""
    kept = folder / 'expected.json'
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for seed, name in enumerate(NAMES):
            _write(folder / name, seed)
        results = [_train(folder, folder, name, form) for name in NAMES for form in _FORMS]
        answers = [json.loads(result.last_line) for result in results]
        # Both forms read the same images.
        expected, streamed = ({key: answer[key] for key in _KEYS} for answer in answers[:2])
        assert expected == streamed
        kept.write_text(json.dumps(expected))
    return Reference(folder, json.loads(kept.read_text()))


def case(reference: Reference, scratch: pathlib.Path, seed: int) -> Verdict:
    """Damages one file of a copy of the caches, and trains on the photographs."""
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(reference.folder / 'data', scratch / 'data')
    form = generator.choice([*_FORMS])
    own, other = (_files(scratch, name, form) for name in NAMES)
    path = generator.choice(sorted(own))
    chosen = generator.choice((*damage.DAMAGES, cached.pipe, None))
    if chosen is None:
        shutil.copy(other[own.index(path)], path)
    else:
        chosen(path, generator)
    outcome = _train(scratch, reference.folder, NAMES[0], form)
    verdict = judge(outcome, reference.expected)
    # The images are decoded again: here a warning does not excuse other numbers.
    kind = 'silently wrong' if verdict.kind == 'said' else verdict.kind
    name = chosen.__name__ if chosen else 'a swap with another folder'
    detail = f'{form}, {name} of {path.relative_to(scratch)}: {verdict.detail or "fine"}'
    return Verdict(kind, detail)


def _write(folder: pathlib.Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for part, name in itertools.product(_IMAGES, ('cat', 'dog', 'owl')):
        (folder / part / name).mkdir(parents=True)
        for number in range(_IMAGES[part]):
            pixels = draw.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / part / name / f'{number}.png')


def _files(scratch: pathlib.Path, name: str, form: str) -> list[pathlib.Path]:
    """Returns the files of the caches of a folder, test before train; small parts have none."""
    caches = sorted((scratch / 'data' / name / decoded_folders.FOLDERS).iterdir())
    chosen = [path for path in caches if path.name.endswith('-streamed') == (form == 'streamed')]
    return [file for path in chosen for file in sorted(path.iterdir())]


def _train(scratch: pathlib.Path, folder: pathlib.Path, name: str, form: str) -> processes.Outcome:
    shutil.rmtree(scratch / 'workdir', ignore_errors=True)
    more = (
        f'--config.data.dir={scratch / "data" / name}',
        f'--config.data.memory_gb={_FORMS[form]}',
        '--config.train.batch_size=8',
        '--config.data.validation=stratified',
    )
    arguments = inputs.training(scratch, f'folder:{folder / name}', *more)
    return processes.run('main', arguments, scratch / 'output')
