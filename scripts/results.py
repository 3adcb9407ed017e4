"""Store the runs behind published figures, and generate the tables of the README and docs/.

    python scripts/results.py [WORKDIR ...]

Copies config.json, metrics.jsonl, summary.json and preprocessing.json of each finished run to
results/<its name>/. Then, from all of results/, writes docs/results.md (our results beside those of
five earlier projects, S0 to S4) and the tables between the marks of README.md, docs/cifar10.md and
docs/numpy.md.
"""

import argparse
import pathlib

from cifar_jax import files
from cifar_jax.experiment import console
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.workdir import Workdir
from tables import kept, pages, published

FILES = ('config.json', 'metrics.jsonl', 'preprocessing.json', 'summary.json')


def keep(folder: pathlib.Path) -> None:
    """Copies the small text files of a finished run to results/, without the workdir's path.

    Raises:
      UserError: the run is not finished, or damaged.
    """
    run = kept.read(folder)
    target = kept.RESULTS / folder.resolve().name
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).exists():  # older results have no preprocessing.json
            (target / name).write_text((folder / name).read_text())
    stored = workdirs.read_config_file(run.workdir) | {'command': kept.command(run)}
    files.write_json(target / 'config.json', files.with_checksum(stored))
    if 'other' in run.summary:  # evaluations on data that are not the run's own
        summary = {key: value for key, value in run.summary.items() if key != 'other'}
        workdirs.write_summary(Workdir(target), summary)


def main() -> None:
    """Runs the script; user errors end it with one sentence and status 1."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('workdir', nargs='*', type=console.is_path)
    folders = parser.parse_args().workdir
    with console.mistakes_as_sentences():
        for folder in folders:
            keep(folder)
        groups = kept.groups(kept.read_all())
        for name, mark, table in pages.TABLES:
            page = kept.ROOT / name
            page.write_text(pages.between(mark, table(groups), page.read_text()))
        (kept.ROOT / 'docs' / 'results.md').write_text(published.page(groups))


if __name__ == '__main__':
    main()
