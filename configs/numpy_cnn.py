"""S0's CNN from scratch in NumPy: one image a step on 5 % of CIFAR-10, then what it lacked.

    python -m cifar_jax.main --config configs/numpy_cnn.py:experiment1

2,000 training, 500 validation and 500 test images, pixels in [0, 1], SGD, at most 20 epochs, five
without a lower validation loss. Not published, and chosen here: He's start, a validation split
that keeps the classes' shares, the lowest validation loss as the best epoch.

`:experiment1` (the default) has one block and the rate 0.1; `:experiment2` two blocks;
`:experiment3` the rate 0.5; `:experiment4` 0.01; `:experiment5` the depth and the rate with the
best mean validation accuracy, one block and 0.003 (two blocks are level with it). `:blocks2` and
`:blocks3` are `:experiment5` deeper.

Each of these changes one thing of `:experiment5`: `:adam`, `:dropout`, `:batches` (32 images a
step, momentum 0.9) and `:normal` (kernels start with variance 1, the naive way). `:corrected` has
Adam, dropout and batches together. `:digits` trains on scikit-learn's digits without any download,
`:smoke` takes seconds. Accuracies and times are in docs/numpy.md.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = (
    *(f'experiment{number}' for number in range(1, 6)),
    'blocks2',
    'blocks3',
    'adam',
    'dropout',
    'batches',
    'normal',
    'corrected',
    'digits',
    'smoke',
)
RATES = {'experiment1': 0.1, 'experiment2': 0.1, 'experiment3': 0.5, 'experiment4': 0.01}
BLOCKS = {'experiment2': 2, 'blocks2': 2, 'blocks3': 3}


def layers(blocks: int, *, dropout: float = 0.0, init: str = 'he') -> tuple:
    """Returns blocks of convolution, max-pooling and ReLU, and a dense layer behind them."""
    found: list[tuple] = []
    for block in range(blocks):
        size = 2 if block else 3
        found += [
            ('conv', {'kernel_size': size, 'depth': 3, 'init': init}),
            ('maxpool', {'kernel_size': 2}),
            ('activation', {'activation': 'relu'}),
        ]
    found.append(('reshape', {'output_shape': 'flatten'}))
    if dropout:
        found.append(('dropout', {'rate': dropout}))
    found.append(('dense', {'neurons': 10, 'init': init}))
    return (*found, ('activation', {'activation': 'softmax'}))


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is `experiment1`."""
    variant = variant or 'experiment1'
    config = get_defaults()
    config.model.name = 'Network'
    config.model.layers = layers(
        BLOCKS.get(variant, 1),
        dropout=0.25 if variant in ('dropout', 'corrected') else 0.0,
        init='normal' if variant == 'normal' else 'he',
    )
    config.data.fraction = 0.05
    config.data.normalize = 'scale'
    config.optimizer.momentum = 0.0
    config.optimizer.nesterov = False
    config.schedule.rate = RATES.get(variant, 0.003)
    config.train.length = '20 epochs'
    config.train.batch_size = 1
    config.train.patience = 5
    config.train.monitor = 'loss'
    if variant in ('batches', 'corrected'):
        config.train.batch_size = 32
    if variant == 'batches':
        config.optimizer.momentum = 0.9
        config.schedule.rate = 0.01
    if variant in ('adam', 'corrected'):
        config.optimizer.name = 'adam'
        config.schedule.rate = 3e-3 if variant == 'corrected' else 3e-4
    config = variants.apply(config, variant)
    if variant == 'digits':
        config.data.fraction = 1.0
    if variant == 'smoke':
        config.data.fraction = 0.3
        config.train.length = '2 epochs'
    return config
