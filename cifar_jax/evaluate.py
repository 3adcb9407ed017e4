"""Evaluate a run on all images of a split: python -m cifar_jax.evaluate --workdir W.

With --data SOURCE it is evaluated on other images.
"""

import argparse
import json
from collections.abc import Sequence

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.evaluate', description=__doc__, allow_abbrev=False
    )
    parser.add_argument('--workdir', type=console.is_path, required=True)
    parser.add_argument(
        '--split',
        choices=('train', 'validation', 'test', 'all'),
        help='default: test; of other data in a folder without parts, all images',
    )
    parser.add_argument(
        '--checkpoint',
        default='chosen',
        choices=('chosen', 'best', 'latest'),
        help='default: chosen, the weights that the run reports',
    )
    parser.add_argument(
        '--data',
        metavar='SOURCE',
        help='evaluate on other images, with classes of the same names: folder:PATH, archive:PATH, '
        'tfds:NAME, cifar10, cifar100 or digits; the results are kept apart',
    )
    parser.add_argument(
        '--data-dir', help='where the data set, folder or archive is now, if it has moved'
    )
    parser.add_argument('--json', action='store_true', help='print a JSON object on the last line')
    return parser


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args = parser().parse_args(arguments)
    console.show_log()
    from cifar_jax.inference.evaluation import evaluate

    result = evaluate(args.workdir, args.split, args.checkpoint, args.data_dir, args.data)
    columns: tuple[str, ...] = ('split', 'images', 'loss', 'accuracy', 'top5')
    row = [result['split'], result['images'], f'{result["loss"]:.4f}']
    row += [f'{result[key]:.2%}' for key in ('accuracy', 'top5')]
    if 'source' in result:
        columns, row = ('other data', *columns), [result['source'], *row]
    console.table(str(args.workdir), columns, [row])
    print(f'weights sha256 {result["sha256"]}')
    if args.json:
        print(json.dumps(result))


if __name__ == '__main__':
    main()
