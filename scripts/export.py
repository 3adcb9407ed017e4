"""Writes the classifier of a run to one file, which needs neither the run nor its data.

    python scripts/export.py --workdir runs/senet senet.safetensors
    python -m cifar_jax.predict --pretrained senet.safetensors cat.jpg

The file has the weights by their names, with a checksum, the classes, the normalisation and the
options of the model. --config.init_from=senet.safetensors begins a run with these weights.
"""

import argparse
import pathlib
from collections.abc import Sequence

from cifar_jax.errors import UserError
from cifar_jax.experiment import console
from cifar_jax.inference import exported


@console.mistakes_as_sentences()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the script; a user's mistake ends it with one sentence and status 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', type=pathlib.Path, required=True, help='of the run')
    parser.add_argument('output', type=pathlib.Path, metavar='OUTPUT.safetensors')
    args = parser.parse_args(arguments)
    if args.output.suffix != exported.SUFFIX:
        raise UserError(f'{args.output} must end with {exported.SUFFIX}.')
    checksum = exported.write(args.workdir, args.output)
    print(f'{args.output}: {args.output.stat().st_size / 2**20:.1f} MiB, sha256 {checksum}')


if __name__ == '__main__':
    main()
