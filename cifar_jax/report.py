"""Pictures of a config: python -m cifar_jax.report --augmentations --config FILE --out FILE.png."""

import argparse
from collections.abc import Sequence

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line; `--config.key=value` is left for the config."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.report', description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        '--augmentations',
        action='store_true',
        required=True,
        help='images under each augmentation of the config alone, and under all',
    )
    parser.add_argument('--config', required=True, metavar='FILE[:VARIANT]')
    parser.add_argument('--out', required=True, type=console.is_path, metavar='FILE.png')
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args, overrides = parser().parse_known_args(arguments)
    console.show_log()
    with console.mistakes_as_sentences():
        from cifar_jax.experiment import config as configs
        from cifar_jax.reporting import augmentations

        augmentations.draw(configs.load(args.config, overrides), args.out)
    print(args.out)


if __name__ == '__main__':
    main()
