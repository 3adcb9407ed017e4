"""Hostile configs, archives, folders and images: a right answer, or a refusal in a sentence."""

import io
import json
import os
import pathlib
import pickle
import random
import shutil
import struct
import tarfile
import zlib

import numpy as np
from PIL import Image

from fault_campaigns import damage, processes, runs
from fault_campaigns.judge import Verdict, judge

_VALUES = (
    *("''", '-1', '0', '1e400', 'nan', 'None', 'True', '[]', '()', '{}', "'x'", '10**9', '2**32'),
    *('999999999999', '-5 epochs', '1000000000 epochs', '0%', '101%', '[red]', '~nouser/x', '/'),
    *("[{'name': 5}]", "[{'name': 'flip', 'p': 2}]", "(('dense',),)", '9' * 60, '0.5', '3', '7'),
)
_FILES = (
    *('', 'x = 1', 'def get_config(): return None', 'def get_config(variant): return None'),
    *('def get_config(variant): return 3', 'def get_config(variant): 1 / 0', 'def get_config('),
    *(
        'import missing_module',
        'raise KeyError("x")',
        'get_config = 5',
        '\x00',
        'import sys; sys.exit(3)',
    ),
    _START := (
        'from cifar_jax.experiment.defaults import get_defaults\n'
        'def get_config(variant):\n    c = get_defaults()\n    c.data.source = "digits"\n'
        '    c.model.name = "SmallVGG"\n    c.train.length = "1 steps"\n    {}\n    return c\n'
    ),
)
_LINES = (
    *('c.optimizer.wieght_decay = .05', 'c.lr = 1e-3', 'c.train.epochs = 3', 'c.seed = None'),
    *(
        'c.data.augment = None',
        'c.train = 5',
        'c.model = None',
        'c.seed = "1"',
        'c = None',
        'c.data.mean = (float("nan"),) * 3',
    ),
    *(
        'c.data.std = (0, 1, 1)',
        'c.train.batch_size = 2.5',
        'c.ema = "0.9"',
        'del c.data',
        'c.lock(); c.x = 1',
    ),
)


def config_case(scratch: pathlib.Path, seed: int) -> Verdict:
    """Runs `main` with an impossible config file, or with an impossible override."""
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    workdir = scratch / 'workdir'
    common = ['--workdir', str(workdir), '--json']
    if generator.random() < 0.4:
        file = scratch / generator.choice(('config.py', 'config.py', 'config.txt', 'con[fig].py'))
        text = generator.choice((*_FILES, *[_START.format(line) for line in _LINES]))
        file.write_text(text.replace('{}', 'pass'))
        arguments = ['--config', str(file), *common]
        name = text[-90:]
    else:
        from cifar_jax.experiment import config as configs
        from cifar_jax.experiment.defaults import get_defaults

        key = generator.choice([*configs.flat(get_defaults()), 'model.widths', 'data', 'modle.x'])
        name = f'{key}={generator.choice(_VALUES)}'
        arguments = ['--config', str(runs.ROOT / 'configs/small_vgg.py:smoke'), *common]
        arguments += ['--config.model.widths=(4,)', '--config.log.tensorboard=false']
        arguments.append(f'--config.{name}')
    outcome = processes.run('main', arguments, scratch / 'output')
    verdict = judge(outcome)
    if verdict.kind == 'refused' and workdir.exists():
        verdict = Verdict('left behind', f'a workdir of a run that never began: {verdict.detail}')
    return Verdict(verdict.kind, f'{name!r}: {verdict.detail}')


def training(scratch: pathlib.Path, source: str, *more: str) -> list[str]:
    """Returns what `main` is given for two steps of a small network on a source."""
    return [
        *('--config', str(runs.ROOT / 'configs/small_vgg.py:smoke')),
        *('--workdir', str(scratch / 'workdir'), '--json'),
        *(f'--config.data.source={source}', '--config.train.length=2 steps'),
        *('--config.model.widths=(4,)', '--config.log.tensorboard=false', *more),
    ]


def archive(path: pathlib.Path) -> None:
    """Writes a small archive in the binary form of CIFAR-10."""
    draw = np.random.default_rng(0)
    with tarfile.open(path, 'w:gz') as tar:
        for name in (*(f'data_batch_{i}.bin' for i in range(1, 6)), 'test_batch.bin'):
            labels = np.arange(20, dtype=np.uint8)[:, None] % 10
            rows = np.hstack([labels, draw.integers(0, 256, (20, 3072), np.uint8)])
            _add(tar, f'cifar-10-batches-bin/{name}', rows.tobytes())
        names = 'airplane automobile bird cat deer dog frog horse ship truck'
        _add(tar, 'cifar-10-batches-bin/batches.meta.txt', '\n'.join(names.split()).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


class _Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def archive_case(scratch: pathlib.Path, seed: int) -> Verdict:
    """Trains three steps from an archive with a damage; the pixels are the right ones or none."""
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    path, executed = scratch / 'cifar-10-binary.tar.gz', scratch / 'executed'
    archive(path)
    kind = generator.choice(
        ('bit', 'bit', 'bit', 'cut', 'zero', 'scramble', 'none', 'pickle', 'names')
    )
    if kind == 'pickle':
        path = scratch / 'cifar-10-python.tar.gz'
        with tarfile.open(path, 'w:gz') as tar:
            for name in (*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch', 'batches.meta'):
                _add(tar, f'cifar-10-batches-py/{name}', pickle.dumps(_Bomb(executed)))
    elif kind == 'names':
        with tarfile.open(path, 'w:gz') as tar:
            _add(tar, generator.choice(('../../x', '/etc/x', 'a' * 300, '\udcff', '[red]')), b'x')
    elif kind != 'none':
        named = {'bit': damage.flip_bit, 'cut': damage.cut, 'zero': damage.zero}
        named.get(kind, damage.scramble)(path, generator)
    arguments = training(scratch, f'archive:{path}')
    outcome = processes.run('main', arguments, scratch / 'output')
    verdict = judge(outcome, _archive_result(scratch))
    if executed.exists():
        return Verdict('code executed', kind)
    return Verdict(verdict.kind, f'archive, {kind}: {verdict.detail}')


def _archive_result(scratch: pathlib.Path) -> dict[str, object]:
    """Returns what training from the undamaged archive gives."""
    folder = scratch.parent / 'intact'
    path = folder / 'result.json'
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive(folder / 'cifar-10-binary.tar.gz')
        arguments = training(folder, f'archive:{folder / "cifar-10-binary.tar.gz"}')
        outcome = processes.run('main', arguments, folder / 'output')
        path.write_text(json.dumps({'sha256': json.loads(outcome.last_line)['sha256']}))
    return json.loads(path.read_text())


def image_case(scratch: pathlib.Path, seed: int, workdir: pathlib.Path) -> Verdict:
    """Asks `predict` about a hostile file beside a good one: the good one has its answer."""
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    good, bad = (
        scratch / 'good.png',
        scratch / generator.choice(('bad.png', '[red]bad.png', 'b.jpg')),
    )
    Image.fromarray(np.full((40, 30, 3), 128, np.uint8)).save(good)
    kind = generator.choice(('bit', 'cut', 'scramble', 'bomb', 'fifo', 'folder', 'text', 'missing'))
    if kind == 'fifo':
        os.mkfifo(bad)
    elif kind == 'folder':
        bad.mkdir()
    elif kind == 'bomb':
        bad.write_bytes(_claims(100_000, 100_000))
    elif kind == 'text':
        bad.write_text('<svg/>')
    elif kind != 'missing':
        shutil.copy(good, bad)
        named = {'bit': damage.flip_bit, 'cut': damage.cut}
        named.get(kind, damage.scramble)(bad, generator)
    arguments = ['--workdir', str(workdir), str(good), str(bad), '--json']
    outcome = processes.run('predict', arguments, scratch / 'output')
    verdict = judge(outcome)
    # A missing path refuses the whole call; otherwise the good image has been answered.
    answered = str(good) in outcome.output
    if verdict.kind == 'refused' and not answered and kind not in ('missing', 'folder'):
        verdict = Verdict('no answer for the good image', verdict.detail)
    return Verdict(verdict.kind, f'image, {kind}: {verdict.detail}')


def _claims(width: int, height: int) -> bytes:
    """Returns a PNG whose header claims a size that would fill the memory."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack('>I', zlib.crc32(kind + content))
        return struct.pack('>I', len(content)) + kind + content + checksum

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    body = chunk(b'IDAT', zlib.compress(bytes(1000)))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + body + chunk(b'IEND', b'')


_LAYOUTS = (
    *(('train', 'test'), ('Training', 'Testing'), ('TRAIN', 'val'), ('train', 'valid')),
    *(('train', 'val', 'test'), ('Train', 'Test'), ('.',), ('train',), ('test', 'val')),
)


def folder_case(scratch: pathlib.Path, seed: int) -> Verdict:
    """Trains on a folder of images in a usual or a hostile layout; it never learns split names."""
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    root = scratch / generator.choice(('photos', 'pho[red]tos', 'photos with spaces'))
    layout = generator.choice(_LAYOUTS)
    draw = np.random.default_rng(seed)
    for part in layout:
        for name in ('cat', 'dog', '[bold]owl'):
            place = root / part / name
            place.mkdir(parents=True)
            for number in range(8):
                pixels = draw.integers(0, 256, (9, 9, 3), np.uint8)
                Image.fromarray(pixels).save(place / f'{number}.png')
    files = sorted(root.rglob('*.png'))
    kind = generator.choice(('none', 'none', 'cut', 'link', 'empty class', 'fifo', 'one image'))
    target = generator.choice(files)
    if kind == 'cut':
        damage.cut(target, generator)
    elif kind == 'link':
        target.unlink()
        target.symlink_to(files[0] if target != files[0] else files[1])
    elif kind == 'fifo':
        os.mkfifo(target.parent / 'pipe.png')
    elif kind in ('empty class', 'one image'):
        for path in sorted(target.parent.iterdir())[kind == 'one image' :]:
            path.unlink()
    more = '--config.train.batch_size=4', '--config.data.validation=stratified'
    arguments = training(scratch, f'folder:{root}', *more)
    outcome = processes.run('main', arguments, scratch / 'output')
    verdict = judge(outcome)
    if verdict.kind == 'right':
        classes = json.loads((scratch / 'workdir/preprocessing.json').read_text())['classes']
        if {part for part in layout if part != '.'} & set(classes):
            verdict = Verdict('silently wrong', 'classes are named like splits')
    return Verdict(verdict.kind, f'folder {layout}, {kind}: {verdict.detail}')
