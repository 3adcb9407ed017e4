"""Classify image files: python -m cifar_jax.predict --workdir W image.png folder ...

With --pretrained NAME in place of --workdir, by a published network.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cifar_jax.experiment import console


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m cifar_jax.predict',
        description=__doc__,
        epilog='A file that cannot be read is named and skipped; the status is then 1.',
        allow_abbrev=False,
    )
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument('--workdir', type=console.is_path, help='of a run')
    network.add_argument(
        '--pretrained',
        metavar='NAME',
        help="senet_cifar10; EfficientNetLite0, EfficientNetB0 or ResNet50, for ImageNet's 1,000 "
        'classes; or a file that scripts/export.py wrote',
    )
    parser.add_argument(
        '--weights',
        metavar='SOURCE',
        help='of a network of ImageNet: a file, or hf:OWNER/NAME (default: imagenet, the '
        'published ones)',
    )
    parser.add_argument(
        '--resize',
        choices=('stretch', 'crop', 'crop_bicubic'),
        help='of --pretrained: crop keeps the middle, stretch all (default: as it was evaluated)',
    )
    parser.add_argument(
        'images',
        nargs='+',
        type=console.is_path,
        metavar='IMAGE',
        help='a file; a folder, for all images in it and its folders; or -, for paths on standard '
        'input, one per line',
    )
    parser.add_argument(
        '--top', type=int, default=5, metavar='K', help='classes per image (default: 5)'
    )
    parser.add_argument(
        '--checkpoint',
        choices=('chosen', 'best', 'latest'),
        help='default: chosen, the weights that the run reports',
    )
    parser.add_argument(
        '--json', action='store_true', help='print a JSON object per image as it is done'
    )
    return parser


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one sentence and status 1."""
    args = parser().parse_args(arguments)
    if args.workdir and args.weights:
        parser().error('--weights needs --pretrained; a run has --checkpoint')
    if args.workdir and args.resize:
        parser().error('--resize needs --pretrained; files are resized as the images of a run')
    if args.pretrained and args.checkpoint:
        parser().error('--checkpoint needs --workdir; a published network has --weights')
    if args.top < 1:
        parser().error(f'--top {args.top} must be 1 or more')
    console.show_log(sys.stderr)
    problems: list[str] = []
    from cifar_jax.data import progress
    from cifar_jax.inference import new_images

    files = new_images.files(args.images, sys.stdin.buffer.read)
    if args.pretrained:
        answers = new_images.predict_pretrained(args.pretrained, args.weights, files, args.resize)
    else:
        answers = new_images.predict(args.workdir, files, args.checkpoint or 'chosen')
    if args.json:
        for answer in _without(problems, answers):
            print(json.dumps(answer.line(args.top)), flush=True)
    else:
        tracked = progress.track(answers, len(files), 'images')
        rows = [row for a in _without(problems, tracked) for row in a.rows(args.top)]
        if rows:
            console.table(
                args.pretrained or str(args.workdir), ('image', 'class', 'probability'), rows
            )
    sys.exit(1 if problems else 0)


def _without(problems: list[str], answers: Iterable[Any]) -> Iterator[Any]:
    """Yields the answers; prints the problems on stderr and adds them to `problems`."""
    for answer in answers:
        if isinstance(answer, str):
            problems.append(answer)
            print(f'cifar_jax: {answer}', file=sys.stderr)
        else:
            yield answer


if __name__ == '__main__':
    main()
