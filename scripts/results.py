"""Store the runs behind published figures, and generate the tables of the README and docs/.

    python scripts/results.py [WORKDIR ...]

Copies config.json, metrics.jsonl, summary.json and preprocessing.json of each finished run to
results/<its name>/, with its predictions for the test images in half precision. Of a folder of
features, such as features/birds/1b9d02c8a4f5e6d7, copies probes.json to
results/probes_birds.json. Then, from all of results/, writes docs/results.md (our results beside
those of five earlier projects, S0 to S4) and the tables between the marks of README.md,
docs/cifar10.md, docs/numpy.md and docs/transfer.md.
"""

import argparse
import pathlib
import shlex

from cifar_jax import features, files
from cifar_jax.data import paths
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import console
from cifar_jax.experiment import workdir as workdirs
from cifar_jax.experiment.records import Run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import predictions, probes
from tables import kept, pages, published

FILES = ('config.json', 'metrics.jsonl', 'preprocessing.json', 'summary.json')


def keep(folder: pathlib.Path) -> None:
    """Copies the small text files of a finished run to results/, without paths of this machine.

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
    if run.config.data.source.partition(':')[0] in paths.ON_DISK:
        # A run has the absolute path, which its command has as it was typed.
        spec, overrides = kept.parts(run)
        typed = configs.load(spec, [f'--config.{key}={text}' for key, text in overrides])
        stored['config']['data']['source'] = typed.data.source
    files.write_json(target / 'config.json', files.with_checksum(stored))
    if 'other' in run.summary:  # evaluations on data that are not the run's own
        summary = {key: value for key, value in run.summary.items() if key != 'other'}
        workdirs.write_summary(Workdir(target), summary)
    _keep_predictions(run, Workdir(target))


def _keep_predictions(run: Run, target: Workdir) -> None:
    stored = predictions.of_reported_weights(run, 'test')
    if stored and run.test is not None:
        arrays = predictions.rounded(stored)._asdict()
        files.write_arrays(target.predictions('test'), arrays, compressed=True)


def keep_probes(folder: pathlib.Path) -> None:
    """Copies the results of the probes on a folder of features to results/.

    Raises:
      UserError: they are missing or damaged.
    """
    stored = files.read_checked_json(folder / probes.FILE)
    words = shlex.split(stored['command'])
    args, overrides = features.parser().parse_known_args(words[3:])
    out = ['--out', str(args.out)] if args.out and not args.out.is_absolute() else []
    again = [*words[:3], '--config', args.config, *overrides, *out, '--probe']
    stored['command'] = shlex.join(again)
    target = kept.RESULTS / f'probes_{folder.resolve().parent.name}.json'
    files.write_json(target, files.with_checksum(stored))


def main() -> None:
    """Runs the script; user errors end it with one sentence and status 1."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('workdir', nargs='*', type=console.is_path)
    folders = parser.parse_args().workdir
    with console.mistakes_as_sentences():
        for folder in folders:
            keep_probes(folder) if (folder / probes.FILE).exists() else keep(folder)
        groups = kept.groups(kept.read_all())
        for name, mark, table in pages.TABLES:
            page = kept.ROOT / name
            page.write_text(pages.between(mark, table(groups), page.read_text()))
        (kept.ROOT / 'docs' / 'results.md').write_text(published.page(groups))


if __name__ == '__main__':
    main()
