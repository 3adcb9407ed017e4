"""One file of a workdir is damaged: every command then answers right, or refuses in a sentence."""

import json
import os
import pathlib
import random
import shutil
from collections.abc import Callable

from fault_campaigns import processes, runs
from fault_campaigns.judge import Verdict, judge

# What a program of cifar_jax reads of a workdir, or lists.
_COMMANDS = ('main', 'evaluate', 'evaluate', 'compare')


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


def case(
    reference: runs.Reference, source: pathlib.Path, scratch: pathlib.Path, seed: int
) -> Verdict:
    """Damages one file of a copy of a workdir and runs one command on it.

    Args:
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
    command = generator.choice(_COMMANDS)
    finished = source == reference.workdir
    outcome = processes.run(*_call(command, reference, workdir, scratch), scratch / 'output')
    verdict = judge(outcome, _expected(command, reference) if finished or command == 'main' else {})
    name = path.relative_to(workdir)
    unchanged = path.is_file() and path.read_bytes() == before
    detail = f'{command} after {damage.__name__} of {name}: {verdict.detail or "fine"}'
    return Verdict(verdict.kind, detail + (' (nothing changed)' if unchanged else ''))


def _call(
    command: str, reference: runs.Reference, workdir: pathlib.Path, scratch: pathlib.Path
) -> tuple[str, list[str]]:
    if command == 'main':
        return command, reference.kind.arguments(workdir)
    if command == 'evaluate':
        return command, ['--workdir', str(workdir), '--json']
    others = [str(workdir), str(reference.workdir), '--out', str(scratch / 'comparison'), '--json']
    return command, others


def _expected(command: str, reference: runs.Reference) -> dict[str, object]:
    if command == 'main':
        return reference.expected
    test = json.loads((reference.workdir / 'summary.json').read_text())['test']
    return {} if command == 'compare' else test


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
