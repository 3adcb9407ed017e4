"""Keep what a published figure rests on, and write the README's table from it.

    python scripts/results.py [WORKDIR ...]

Copies config.json, metrics.jsonl and summary.json of each finished run to results/<its name>/,
then writes the table between the two `results` marks of README.md anew from all of results/.
"""

import argparse
import json
import pathlib
import re
import shlex
import sys

import numpy_results

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ('config.json', 'metrics.jsonl', 'summary.json')
MARKS = '<!-- results -->', '<!-- end of results -->'
NUMPY_MARKS = '<!-- NumPy results -->', '<!-- end of NumPy results -->'
HEAD = (
    '| command | epochs | validation | test | top 5 | wall time | images/s | seeds | processor |\n'
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |'
)


def keep(workdir: pathlib.Path) -> None:
    """Copies the small text files of a finished run under results/, without its own path."""
    missing = [name for name in FILES if not (workdir / name).is_file()]
    if missing:
        sys.exit(f'{workdir} has no {", ".join(missing)}: finish and evaluate the run first.')
    target = ROOT / 'results' / workdir.name
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (target / name).write_text((workdir / name).read_text())
    config = json.loads((target / 'config.json').read_text())
    words = shlex.split(config['command'])
    if '--workdir' in words:
        at = words.index('--workdir')
        del words[at : at + 2]
    config['command'] = shlex.join(words)
    (target / 'config.json').write_text(json.dumps(config, indent=2) + '\n')


def row(folder: pathlib.Path) -> str:
    """Returns a run as a line of the table."""
    config, summary = (json.loads((folder / name).read_text()) for name in FILES[::2])
    lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    speed = sorted(line['images_per_second'] for line in lines)[len(lines) // 2]
    here, test = config['environment'], summary.get('test', {})
    share = '{:.2%}'.format
    cells = (
        f'`{config["command"].removeprefix("python -m cifar_jax.main ")}`',
        summary['epoch'],
        share(summary['val_accuracy']) if 'val_accuracy' in summary else '',
        share(test['accuracy']) if test else '',
        share(test['top5']) if test else '',
        f'{summary["seconds"] / 60:.0f} min',
        f'{speed:.0f}',
        1,
        f'{here["processor"]}, {here["cores"]} core{"s" * (here["cores"] > 1)}',
    )
    return f'| {" | ".join(map(str, cells))} |'


def table() -> str:
    """Returns the table of all that is in results/."""
    folders = sorted(path.parent for path in (ROOT / 'results').glob('*/summary.json'))
    return '\n'.join([HEAD, *(row(folder) for folder in folders if not _in_numpy(folder))])


def _in_numpy(folder: pathlib.Path) -> bool:
    return json.loads((folder / 'config.json').read_text())['config']['model']['name'] == 'Network'


def between(marks: tuple[str, str], table: str, text: str) -> str:
    """Returns a page with a table in place of what is between two marks."""
    first, last = map(re.escape, marks)
    new = f'{marks[0]}\n\n{table}\n\n{marks[1]}'
    return re.sub(f'{first}.*{last}', lambda _: new, text, flags=re.DOTALL)


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('workdir', nargs='*', type=pathlib.Path)
    for workdir in parser.parse_args().workdir:
        keep(workdir)
    readme = ROOT / 'README.md'
    text = between(MARKS, table(), readme.read_text())
    readme.write_text(between(NUMPY_MARKS, numpy_results.table(), text))


if __name__ == '__main__':
    main()
