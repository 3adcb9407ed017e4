"""Compare several runs: python -m cifar_jax.compare W1 W2 ..."""

import argparse
import json
import shlex
from collections.abc import Sequence

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.compare',
        description=__doc__,
        epilog='Runs that differ in their seed only share a row. Writes comparison.html, '
        'comparison.md, comparison.csv and the curves as PNG and SVG.',
        allow_abbrev=False,
    )
    parser.add_argument('workdirs', nargs='+', type=console.is_path, metavar='WORKDIR')
    parser.add_argument(
        '--out',
        default='comparison',
        type=console.is_path,
        metavar='DIR',
        help='default: comparison/',
    )
    parser.add_argument(
        '--split',
        default='test',
        choices=('validation', 'test'),
        help='the images on which pairs of runs are compared (default: test)',
    )
    parser.add_argument('--json', action='store_true', help='print a JSON object on the last line')
    return parser


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args = parser().parse_args(arguments)
    console.show_log()
    from cifar_jax.reporting.comparisons import render
    from cifar_jax.reporting.comparisons.compare import compare

    comparison = compare(args.workdirs, args.split)
    again = ['python', '-m', 'cifar_jax.compare', *map(str, args.workdirs)]
    again += ['--split', args.split, '--out', str(args.out)]
    paths = render.write(comparison, args.out, shlex.join(again))
    for table in render.tables(comparison):
        console.table(*table)
    for note in comparison.notes:
        print(note)
    print(paths[0])
    if args.json:
        print(json.dumps(render.plain(comparison, paths)))


if __name__ == '__main__':
    main()
