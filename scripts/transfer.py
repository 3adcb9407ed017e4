"""Run the transfer experiments of S1 or S2, whose published results are in docs/results.md.

    python scripts/transfer.py s1 --out runs/s1
    python scripts/transfer.py s2 --out runs/s2
    python scripts/transfer.py s1 --out runs/s1-stand-in --stand-in --data folder:birds

s1 computes the features of Caltech's birds by ResNet50, trains three heads on them, and fine-tunes
the network with three heads; s2 fine-tunes EfficientNetB0 on CIFAR-100. All runs are evaluated on
the test images. With --stand-in, the network is EfficientNetLite0, and the images of s1 are a
folder. Weights and images are downloaded as docs/transfer.md says, or named by --weights and
--data. Other arguments, such as --seeds and --jobs, are those of `python -m cifar_jax.sweep`. The
same command continues where it was interrupted.
"""

import argparse
import os
import pathlib
from collections.abc import Sequence

from cifar_jax import features, sweep
from cifar_jax.experiment import console
from tables.kept import ROOT

S1_HEADS = ('dense', 'two_dense', 'two_dense_dropout')
S1_FINE_TUNED = ('dense', 'two_dense', 'conv')


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('experiment', choices=('s1', 's2'))
    add('--out', type=console.is_path, required=True, help='the folder of features and runs')
    add('--stand-in', action='store_true', help='EfficientNetLite0, whose weights a package has')
    add('--weights', metavar='FILE', help='in the place of the published ones, see init_from')
    add('--data', metavar='SOURCE', help='the images, such as folder:PATH')
    add('--set', action='append', default=[], metavar='KEY=VALUE', help='for the whole network')
    add('--set-head', action='append', default=[], metavar='KEY=VALUE', help='for heads of s1')
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the script; a user's mistake ends it with one sentence and status 1."""
    args, others = parser().parse_known_args(arguments)
    given = {'init_from': args.weights, 'data.source': args.data}
    network = [f'{key}={value}' for key, value in given.items() if value] + args.set
    if args.experiment == 's2':
        variant = 'lite0' if args.stand_in else ''
        _sweep(args.out, 'efficientnet.py', [variant], network, others)
        return
    prefix, kept = '' if args.stand_in else 'resnet50_', args.out / 'features'
    [config] = _configs('birds.py', [prefix.removesuffix('_')])
    overrides = (f'--config.{setting}' for setting in network)
    features.main(['--config', config, '--out', str(kept), *overrides])
    heads = [f'{prefix}{head}' for head in S1_HEADS]
    on_features = [f'data.source=features:{kept}', *args.set_head]
    _sweep(args.out / 'heads', 'birds.py', heads, on_features, others)
    tuned = [f'{prefix}{head}' for head in S1_FINE_TUNED]
    _sweep(args.out / 'fine_tuned', 'birds_fine_tuning.py', tuned, network, others)


def _sweep(
    out: pathlib.Path,
    file: str,
    variants: Sequence[str],
    settings: Sequence[str],
    others: Sequence[str],
) -> None:
    """Trains and evaluates variants of a config; ends the script if a run fails."""
    words = ['--out', str(out), '--evaluate', 'test', *others]
    for config in _configs(file, variants):
        words += ['--config', config]
    for setting in settings:
        words += ['--set', setting]
    try:
        sweep.main(words)
    except SystemExit as ended:
        if ended.code:
            raise


def _configs(file: str, variants: Sequence[str]) -> list[str]:
    path = os.path.relpath(ROOT / 'configs' / file)
    return [f'{path}:{variant}' if variant else path for variant in variants]


if __name__ == '__main__':
    main()
