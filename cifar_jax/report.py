"""Draw a run: python -m cifar_jax.report --workdir W.

Writes W/report/index.html, which needs no other file, and each picture as PNG and SVG. With
--augmentations --config FILE --out FILE.png it draws images with the augmentations of a config.
"""

import argparse
import json
from collections.abc import Sequence

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line; `--config.key=value` is left for the config."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.report', description=__doc__, allow_abbrev=False
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--workdir', type=console.is_path, help='the folder of a run')
    what.add_argument(
        '--augmentations',
        action='store_true',
        help='draw images with each augmentation of a config, and with all',
    )
    run = parser.add_argument_group('with --workdir')
    run.add_argument('--split', default='test', choices=('train', 'validation', 'test'))
    run.add_argument(
        '--data-dir', help='where the data set, folder or archive is now, if it has moved'
    )
    run.add_argument('--json', action='store_true', help='print a JSON object on the last line')
    sheet = parser.add_argument_group('with --augmentations')
    sheet.add_argument('--config', metavar='FILE[:VARIANT]')
    sheet.add_argument('--out', type=console.is_path, metavar='FILE.png')
    return parser


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args, overrides = parser().parse_known_args(arguments)
    if args.augmentations and not (args.config and args.out):
        parser().error('--augmentations needs --config FILE and --out FILE.png')
    if args.workdir and (args.config or args.out or overrides):
        parser().error('--workdir takes the config of its run, and writes in it')
    console.show_log()
    if args.workdir:
        from cifar_jax.reporting import build as report

        result = report.write(args.workdir, args.split, args.data_dir)
        print(result['report'])
        if args.json:
            print(json.dumps(result))
    else:
        from cifar_jax.experiment import config as configs

        config = configs.load(args.config, overrides)
        from cifar_jax.reporting import augmentations

        augmentations.draw(config, args.out)
        print(args.out)


if __name__ == '__main__':
    main()
