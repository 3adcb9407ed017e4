"""Campaigns of faults: kills of runs and sweeps, damaged files, full disks, hostile inputs.

    python scripts/faults.py --out runs/faults                    # all of it, an hour
    python scripts/faults.py --out runs/faults --campaigns kills --cases 10

A case is a seed: its moment, file or value is drawn from it. A killed run must end with the bits of
an unbroken one. After a damage, a command must give the right numbers, say that it gives others, or
refuse in one sentence; a traceback, a hang or a silently wrong number is a fault of ours. A kill
counts where it found the command alive, and the table says what that was doing. Verdicts
are kept in OUT/verdicts.jsonl, and the same command continues with the cases that are missing. It
ends with a table of counts and the faults, with status 1 where there are any. Linux only.
"""

import argparse
import json
import pathlib
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from cifar_jax.data import progress
from cifar_jax.experiment import console
from fault_campaigns import (
    cached,
    damage,
    folder_cache,
    inputs,
    kills,
    phases,
    processes,
    runs,
    sweeps,
)
from fault_campaigns.judge import Verdict

Case = Callable[[pathlib.Path, int], Verdict]
# How many cases a full campaign has.
CASES = {
    'sweeps': 20,
    'cache': 100,
    'folder_cache': 100,
    'kills': 51,
    'damages': 300,
    'disk': 30,
    'configs': 150,
    'archives': 60,
    'images': 60,
    'folders': 60,
}


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=pathlib.Path, required=True, metavar='DIR')
    parser.add_argument('--campaigns', default=','.join(CASES), help='of ' + ', '.join(CASES))
    parser.add_argument('--cases', type=int, help='of each campaign; default: ' + str(CASES))
    parser.add_argument('--seed', type=int, default=0, help='of the first case')
    return parser


def campaign(name: str, folder: pathlib.Path) -> Case:
    """Returns the function that runs a case of a campaign in a scratch folder."""
    if name in ('configs', 'archives', 'folders'):
        return {
            'configs': inputs.config_case,
            'archives': inputs.archive_case,
            'folders': inputs.folder_case,
        }[name]
    if name == 'sweeps':
        return lambda scratch, seed: sweeps.case(
            sweeps.reference(seed % len(sweeps.SWEEPS), folder), scratch, seed
        )
    if name == 'cache':
        prepared = cached.reference(folder / 'cache')
        return lambda scratch, seed: cached.case(prepared, scratch, seed)
    if name == 'folder_cache':
        decoded = folder_cache.reference(folder / 'folder_cache')
        return lambda scratch, seed: folder_cache.case(decoded, scratch, seed)
    references = [runs.reference(kind, folder) for kind in runs.KINDS]
    if name == 'kills':
        return lambda scratch, seed: kills.case(references[seed % len(references)], scratch, seed)
    for reference in references:
        arguments = ['--workdir', reference.workdir, '--json']
        processes.run('evaluate', arguments, folder / reference.kind.name / 'output')
    if name == 'images':
        return lambda scratch, seed: inputs.image_case(scratch, seed, references[0].workdir)
    if name == 'disk':
        return lambda scratch, seed: kills.full_disk_case(
            references[seed % len(references)], scratch, seed
        )

    def damaged(scratch: pathlib.Path, seed: int) -> Verdict:
        reference = references[seed % len(references)]
        finished = seed // len(references) % 2 == 0
        source = reference.workdir if finished else damage.interrupted(reference, folder)
        answers = damage.answers(reference, scratch)
        return damage.case(reference, answers, source, scratch, seed)

    return damaged


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the script."""
    args = parser().parse_args(arguments)
    names = args.campaigns.split(',')
    if unknown := set(names) - set(CASES):
        parser().error(f'no campaign {", ".join(sorted(unknown))}: there are {", ".join(CASES)}')
    folder = args.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / 'verdicts.jsonl'
    verdicts = _read(journal)
    processes.preload()
    for name in names:
        seeds = range(args.seed, args.seed + (args.cases or CASES[name]))
        missing = [seed for seed in seeds if (name, seed) not in verdicts]
        if not missing:
            continue
        case = campaign(name, folder)
        for seed in progress.track(missing, len(missing), name):
            verdict = case(folder / 'scratch' / name / 'case', seed)
            verdicts[name, seed] = verdict
            with journal.open('a') as file:
                file.write(json.dumps([name, seed, *verdict]) + '\n')
    sys.exit(_show(names, verdicts))


def _read(journal: pathlib.Path) -> dict[tuple[str, int], Verdict]:
    if not journal.exists():
        return {}
    rows = map(json.loads, journal.read_text().splitlines())
    return {
        (name, seed): Verdict(kind, detail, tuple(killed))
        for name, seed, kind, detail, killed in rows
    }


def _show(names: Sequence[str], verdicts: dict[tuple[str, int], Verdict]) -> int:
    kinds = list(dict.fromkeys(verdict.kind for verdict in verdicts.values()))
    rows = []
    for name in names:
        own = [verdict for (campaign, _), verdict in verdicts.items() if campaign == name]
        counts = Counter(verdict.kind for verdict in own)
        killed = Counter(phase for verdict in own for phase in verdict.kills)
        rows.append(
            [
                *(name, counts.total(), *(counts[kind] for kind in kinds)),
                sum(bool(verdict.kills) for verdict in own),
                *(killed[phase] for phase in phases.PHASES),
            ]
        )
    columns = ('campaign', 'cases', *kinds, 'killed alive')
    console.table('faults', (*columns, *(f'kills: {phase}' for phase in phases.PHASES)), rows)
    faults = [(key, verdict) for key, verdict in verdicts.items() if verdict.fault]
    for (name, seed), verdict in faults:
        print(f'{name} --seed {seed}: {verdict.kind}: {verdict.detail}')
    return int(bool(faults))


if __name__ == '__main__':
    main()
