"""Keep what a published figure rests on, and write the tables of README.md and RESULTS.md.

    python scripts/results.py [WORKDIR ...]

Copies config.json, metrics.jsonl, summary.json and preprocessing.json of each finished run to
results/<its name>/. Then writes RESULTS.md, our results beside those that S0 to S4 published, and
the tables between the marks of README.md anew from all of results/.
"""

import argparse
import json
import pathlib

from cifar_jax.experiment import console
from cifar_jax.experiment import records as runs
from tables import published, readme

FILES = ('config.json', 'metrics.jsonl', 'preprocessing.json', 'summary.json')


def keep(folder: pathlib.Path) -> None:
    """Copies the small text files of a finished run under results/, without its own path.

    Raises:
      UserError: the run is not finished, or damaged.
    """
    run = runs.read(folder)
    target = runs.RESULTS / folder.resolve().name
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).exists():  # results of earlier versions have no preprocessing.json
            (target / name).write_text((folder / name).read_text())
    stored = json.loads((target / 'config.json').read_text())
    stored['command'] = runs.command(run)
    (target / 'config.json').write_text(json.dumps(stored, indent=2) + '\n')


def main() -> None:
    """Runs the script; a mistake ends it with one sentence and status 1."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('workdir', nargs='*', type=console.is_path)
    folders = parser.parse_args().workdir
    with console.mistakes_as_sentences():
        for folder in folders:
            keep(folder)
        groups = runs.groups(runs.read_all())
        page = runs.ROOT / 'README.md'
        text = readme.between('results', readme.networks(groups), page.read_text())
        page.write_text(readme.between('NumPy results', readme.in_numpy(groups), text))
        (runs.ROOT / 'RESULTS.md').write_text(published.page(groups))


if __name__ == '__main__':
    main()
