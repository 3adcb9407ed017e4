"""Turns a file of weights of Keras or PyTorch into safetensors with our names and a checksum.

    python scripts/convert_weights.py --model ResNet50 resnet50.h5 resnet50.safetensors

Reads .h5, .weights.h5 and .keras of Keras, and state dicts of PyTorch (.pt, .pth), of which nothing
is executed; PyTorch itself is not needed. Every tensor has to fit the model, and a head may be
missing. `--config.init_from=resnet50.safetensors` then starts a run from it.
"""

import argparse
import pathlib
from collections.abc import Sequence

from cifar_jax import models
from cifar_jax.experiment import console
from cifar_jax.models import summary
from cifar_jax.models.pretrained import safetensors_files, sources
from cifar_jax.training import weights

_SIZE = 224


def parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', required=True, metavar='NAME', help='such as ResNet50')
    parser.add_argument('source', metavar='SOURCE', help="a file, or 'imagenet' for published ones")
    parser.add_argument('output', type=pathlib.Path, metavar='OUTPUT.safetensors')
    return parser


def convert(name: str, source: str, output: pathlib.Path) -> tuple[int, str]:
    """Converts a file; returns the number of tensors, and their SHA-256.

    Raises:
      UserError: the file cannot be read, or is not of this model.
    """
    path, arrays = sources.read(source, models.create(name, 1))
    head = arrays.get('params/head/bias')
    model = models.create(name, 1 if head is None else len(head))
    shapes, _ = summary.trace(model, (_SIZE, _SIZE, 3))
    matched = weights.match(weights.Source(str(path), arrays), shapes, heads=['head'])
    checksum = safetensors_files.write(output, matched.arrays, model=name, source=path.name)
    return len(matched.arrays), checksum


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the script; a user's mistake ends it with one sentence and status 1."""
    args = parser().parse_args(arguments)
    count, checksum = convert(args.model, args.source, args.output)
    print(f'{args.output}: {count} tensors, sha256 {checksum}')


if __name__ == '__main__':
    main()
