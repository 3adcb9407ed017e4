"""S0's CNN, trained in NumPy: one image per step on 5 % of CIFAR-10, and what that lacks.

    python -m cifar_jax.main --config configs/numpy_cnn.py:experiment5

2,000 training, 500 validation and 500 test images, pixels in [0, 1], SGD for at most 20 epochs,
stopped after five epochs without a lower validation loss. S0 does not report the rest: here it is
He's initialisation, a stratified validation split, and the weights of the lowest validation loss.
Expected: 35.6 % on the test images for `:experiment5` and 10 % (chance) for `:experiment1`, in 10
to 60 seconds on one core of an AMD EPYC; docs/numpy.md has every variant.

Variants:
  experiment1   One block, rate 0.1; the default.
  experiment2   Two blocks, rate 0.1.
  experiment3   One block, rate 0.5.
  experiment4   One block, rate 0.01.
  experiment5   One block, rate 0.003: the best mean validation accuracy of the depths and rates.
  blocks2, blocks3   experiment5 with two and three blocks.
  adam          experiment5 with Adam.
  dropout       experiment5 with dropout.
  batches       experiment5 with 32 images per step and momentum 0.9.
  normal        experiment5 with kernels of initial variance 1, the naive choice.
  corrected     experiment5 with Adam, dropout and 32 images per step.
  digits        experiment5 on scikit-learn's digits: no download.
  smoke         The same for two short epochs: seconds.
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
    """Returns blocks of convolution, max-pooling and ReLU, followed by a dense layer."""
    specs: list[tuple] = []
    for block in range(blocks):
        size = 2 if block else 3
        specs += [
            ('conv', {'kernel_size': size, 'depth': 3, 'init': init}),
            ('maxpool', {'kernel_size': 2}),
            ('activation', {'activation': 'relu'}),
        ]
    specs.append(('reshape', {'output_shape': 'flatten'}))
    if dropout:
        specs.append(('dropout', {'rate': dropout}))
    specs.append(('dense', {'neurons': 10, 'init': init}))
    return (*specs, ('activation', {'activation': 'softmax'}))


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
