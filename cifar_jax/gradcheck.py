"""Check the gradients of a model against NumPy: python -m cifar_jax.gradcheck --config FILE."""

import argparse
import json
import sys
from collections.abc import Sequence

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line; `--config.key=value` is left for the config."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.gradcheck', description=__doc__, allow_abbrev=False
    )
    parser.add_argument('--config', required=True, metavar='FILE[:VARIANT]')
    parser.add_argument(
        '--images', type=int, default=4, help='training images in the batch (default: 4)'
    )
    parser.add_argument(
        '--no-differences',
        action='store_true',
        help='leave out the numerical differences, the slow part',
    )
    parser.add_argument('--json', action='store_true', help='print a JSON object on the last line')
    return parser


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; the status is 1, and the layer is named, if an error is too large."""
    args, overrides = parser().parse_known_args(arguments)
    console.show_log()
    from cifar_jax.experiment import config as configs

    config = configs.load(args.config, overrides)
    from cifar_jax.crosscheck import check as report
    from cifar_jax.data import progress

    result = report.check(
        config,
        images=args.images,
        with_differences=not args.no_differences,
        track=lambda layers: progress.track(layers, len(layers), 'layers checked'),
    )
    console.table(*report.table(args.config, result))
    for failure in result['failures']:
        print(f'cifar_jax: {failure}', file=sys.stderr)
    if args.json:
        print(json.dumps(result))
    sys.exit(1 if result['failures'] else 0)


if __name__ == '__main__':
    main()
