"""Train S4's PlainCNN by S4's recipe in PyTorch, to compare its losses with those of ours.

    pip install '.[bench]'
    python scripts/s4_in_pytorch.py --epochs 4

The split and the normalisation are those of configs/plain_cnn.py. The network, Adam, the steps of
the rate and the random numbers are PyTorch's, so that the losses of an epoch agree with ours within
the spread of seeds. Prints a line for each epoch and keeps nothing.
"""

import argparse
import pathlib

from cifar_jax.data import pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import console

CONFIG = pathlib.Path(__file__).parents[1] / 'configs' / 'plain_cnn.py'


@console.mistakes_as_sentences()
def main() -> None:
    """Runs the script; a user's mistake ends it with one sentence and status 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    try:
        import torch

        from bench import s4_recipe
    except ImportError:
        raise UserError("PyTorch is not installed: pip install '.[bench]'.") from None
    torch.manual_seed(args.seed)
    data = pipeline.prepare(configs.load(str(CONFIG), []).data)
    assert data.validation is not None
    parts = s4_recipe.Part(data.train), s4_recipe.Part(data.validation)
    for number, (train, validation) in enumerate(s4_recipe.epochs(*parts, args.epochs), 1):
        print(
            f'epoch {number:3}  train loss {train.loss:.4f} accuracy {train.accuracy:.2%}  '
            f'validation loss {validation.loss:.4f} accuracy {validation.accuracy:.2%}',
            flush=True,
        )


if __name__ == '__main__':
    main()
