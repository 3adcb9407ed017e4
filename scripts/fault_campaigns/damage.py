"""One file of a workdir is damaged: every command then answers right, or refuses in a sentence."""

import json
import os
import pathlib
import random
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from fault_campaigns import processes, runs
from fault_campaigns.judge import Verdict, judge

# The commands that read a workdir, each with the part of its result that must be right.
_ANSWERS = {
    'main': ('finished', 'step', 'sha256', 'val_accuracy', 'val_loss', 'train_loss'),
    'evaluate': ('split', 'images', 'loss', 'accuracy', 'top5', 'sha256'),
    'compare': ('runs', 'pairs'),
    'predict': ('top',),
    'report': ('split', 'images', 'loss', 'accuracy', 'top5', 'sha256'),
}


def flip_bit(path: pathlib.Path, generator: random.Random) -> None:
    """Turns over one bit."""
    content = bytearray(path.read_bytes())
    if content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)


def cut(path: pathlib.Path, generator: random.Random) -> None:
    """Leaves the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content) + 1)])


def zero(path: pathlib.Path, generator: random.Random) -> None:
    """Replaces the end of a file by zeros, as after a power cut."""
    content = path.read_bytes()
    start = generator.randrange(len(content) + 1)
    path.write_bytes(content[:start] + bytes(len(content) - start))


def scramble(path: pathlib.Path, generator: random.Random) -> None:
    """Replaces a file by random bytes."""
    path.write_bytes(generator.randbytes(generator.choice((0, 1, 100, 5000))))


def other_json(path: pathlib.Path, generator: random.Random) -> None:
    """Replaces a file by JSON of another type."""
    path.write_text(json.dumps(generator.choice(([], 3, 'text', None, {}, [{}], {'config': 1}))))


def remove(path: pathlib.Path, generator: random.Random) -> None:
    """Deletes a file."""
    path.unlink()


def folder(path: pathlib.Path, generator: random.Random) -> None:
    """Puts a folder in the place of a file."""
    path.unlink()
    path.mkdir()


DAMAGES: tuple[Callable[[pathlib.Path, random.Random], None], ...] = (
    *(flip_bit, flip_bit, cut, zero, scramble, other_json, remove, folder),
)


def answers(reference: runs.Reference, scratch: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns what each command says of an undamaged copy, or reads what an earlier call left."""
    kept = reference.workdir.with_name('answers.json')
    if not kept.exists():
        found = {}
        for command, keys in _ANSWERS.items():
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(reference.workdir, scratch / 'workdir')
            arguments = _arguments(command, reference, scratch / 'workdir')
            result = json.loads(processes.run(command, arguments, scratch / 'output').last_line)
            found[command] = {key: result[key] for key in keys if key in result}
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def case(
    reference: runs.Reference,
    answers: dict[str, dict[str, Any]],
    source: pathlib.Path,
    scratch: pathlib.Path,
    seed: int,
) -> Verdict:
    """Damages one file of a copy of a workdir and runs one command on it.

    Args:
      answers: the right ones.
      source: the workdir, finished or interrupted.
    """
    generator = random.Random(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    workdir = scratch / 'workdir'
    shutil.copytree(source, workdir)
    files = sorted(path for path in workdir.rglob('*') if path.is_file() and path.name != '.lock')
    path, damage = generator.choice(files), generator.choice(DAMAGES)
    before = path.read_bytes()
    damage(path, generator)
    command = generator.choice((*_ANSWERS, 'evaluate', 'compare'))  # the cheap ones more often
    finished = source == reference.workdir
    outcome = processes.run(command, _arguments(command, reference, workdir), scratch / 'output')
    verdict = judge(outcome, answers[command] if finished or command == 'main' else {})
    name = path.relative_to(workdir)
    unchanged = path.is_file() and path.read_bytes() == before
    detail = f'{command} after {damage.__name__} of {name}: {verdict.detail or "fine"}'
    return Verdict(verdict.kind, detail + (' (nothing changed)' if unchanged else ''))


def _arguments(command: str, reference: runs.Reference, workdir: pathlib.Path) -> list[str]:
    if command == 'main':
        return reference.kind.arguments(workdir)
    if command == 'compare':
        out = workdir.with_name('comparison')
        return [str(workdir), str(reference.workdir), '--out', str(out), '--json']
    arguments = ['--workdir', str(workdir), '--json']
    if command == 'predict':
        image = workdir.with_name('image.png')
        Image.fromarray(np.arange(32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)).save(image)
        arguments.append(str(image))
    return arguments


def interrupted(reference: runs.Reference, folder: pathlib.Path) -> pathlib.Path:
    """Returns a workdir of the same run, stopped in the middle; made at the first call."""
    workdir = folder / reference.kind.name / 'interrupted'
    if not workdir.exists():
        draft = workdir.with_name('interrupted-draft')
        shutil.rmtree(draft, ignore_errors=True)
        processes.run(
            'main',
            reference.kind.arguments(draft),
            folder / reference.kind.name / 'output',
            kill_when=lambda _: len(runs.lines(draft)) > len(reference.lines) // 2,
        )
        os.replace(draft, workdir)
    return workdir
