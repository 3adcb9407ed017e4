"""Compute a data set's features by a pretrained network: python -m cifar_jax.features --config C.

Heads are then trained on them in seconds, with --config.data.source=features:DIR.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line; `--config.key=value` is left for the config."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.features',
        description=__doc__,
        epilog='The config chooses the network (model), its weights (init_from) and the images '
        '(data). The same command continues where it was interrupted.',
        allow_abbrev=False,
    )
    parser.add_argument('--config', required=True, metavar='FILE[:VARIANT]')
    parser.add_argument(
        '--out', type=console.is_path, help='default: features/<name of the config>'
    )
    parser.add_argument(
        '--probe',
        action='store_true',
        help='also fit a linear probe and the nearest neighbours by scikit-learn',
    )
    parser.add_argument('--json', action='store_true', help='print a JSON object on the last line')
    return parser


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args, overrides = parser().parse_known_args(arguments)
    console.show_log()
    from cifar_jax.experiment import config as configs

    config = configs.load(args.config, overrides)
    # JAX is loaded after the arguments are known to be right.
    from cifar_jax.inference import extraction, probes

    out = args.out or pathlib.Path('features') / configs.name(args.config)
    folder, contents, speed = extraction.extract(config, out)
    rows = [(part, count, contents.width) for part, count in contents.images.items()]
    console.table(contents.facts['model'], ('part', 'images', 'features'), rows)
    if speed:
        print(f'{speed:.0f} images/s')
    result: dict[str, Any] = {
        'folder': str(folder),
        'images': dict(contents.images),
        'features': contents.width,
    }
    if args.probe:
        command = console.command_line('cifar_jax.features', arguments)
        result['probes'] = probes.probe(folder, config.data, command)
        _show(result['probes'])
    print(f'train on them with --config.data.source=features:{folder}')
    if args.json:
        print(json.dumps(result))


def _show(results: dict[str, Any]) -> None:
    rows = [
        (
            name,
            f'{row["value"]:g}',
            f'{row["validation"]:.2%}',
            f'{row["test"]:.2%}',
            row['seconds'],
        )
        for name, row in results.items()
    ]
    console.table('probes', ('probe', 'chosen', 'validation', 'test', 'seconds'), rows)


if __name__ == '__main__':
    main()
