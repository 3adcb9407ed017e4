"""S1's transfer to birds: heads on the features of a pretrained network.

    python -m cifar_jax.features --config configs/birds.py --config.data.source=folder:birds --probe
    python -m cifar_jax.main --config configs/birds.py:dense
    python -m cifar_jax.evaluate --workdir runs/birds-dense

The first command computes the features of every image once, and fits a linear probe and the nearest
neighbours. The second trains a head on them in seconds.

S1's experiment has the 200 classes of Caltech's birds of 2010, and ResNet50's features. Its weights
and images have to be downloaded (docs/transfer.md):

    python -m cifar_jax.features --config configs/birds.py:resnet50
    python -m cifar_jax.main --config configs/birds.py:resnet50_dense

In its place, '' and the heads without a prefix take any folder of photographs in class folders,
and EfficientNetLite0, whose weights come with the extra `transfer`.
Recipe of the heads: S1's SGD at 0.01 with inverse-time decay. S1 does not report the batch size,
the length, the normalisation of the features and the width of the first of two layers: here 64, 30
epochs, standardised, and 1,024 as in S1's fine-tuned network.
Expected, for 100 classes of Caltech's birds of 2011 (2,999 training photographs) and
EfficientNetLite0: 87.2 +- 0.9 %, 87.6 +- 0.3 % and 87.8 +- 0.7 % test accuracy for S1's heads,
90.1 +- 0.1 % for `ours` (three seeds each), and 90.7 % for `ours` on all training images
(--config.data.validation=none) and for the linear probe. On a core of an Intel Xeon with AVX-512,
two minutes for the features, half a minute for a head.

Variants, each also with the prefix resnet50_:
  dense           one dense layer.
  two_dense       two dense layers with ReLU between them.
  two_dense_dropout   the same with dropout of 0.75.
  ours            one dense layer with L2 and a cosine rate.
  resnet50        as '', the data and the backbone of the features.
  digits, smoke   two_dense on the pixels of scikit-learn's digits; no download.
"""

from typing import Any

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

HEADS: dict[str, dict[str, Any]] = {
    'dense': dict(hidden=()),
    'two_dense': dict(hidden=(1024,)),
    'two_dense_dropout': dict(hidden=(1024,), dropout=0.75),
    'ours': dict(hidden=()),
}
VARIANTS = (
    *variants.SMALL,
    *HEADS,
    'resnet50',
    *(f'resnet50_{head}' for head in HEADS),
)


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' and 'resnet50' are those of the features."""
    config = get_defaults()
    s1 = variant.startswith('resnet50')
    head = variant.removeprefix('resnet50').removeprefix('_')
    if not head:
        return _backbone(config, s1)
    config.model.name = 'DenseHead'
    for option, value in HEADS.get(head, HEADS['two_dense']).items():
        config.model[option] = value
    config.data.source = 'features:features/birds' + ('-resnet50' if s1 else '')
    config.data.normalize = 'channel'
    config.data.validation_fraction = 0.1
    variants.inverse_time_sgd(config)
    config.train.batch_size = 64
    config.train.length = '30 epochs'
    config.train.select = 'best'
    if head == 'ours':
        config.optimizer.l2 = 0.03  # of 0.01, 0.03 and 0.1, the best on the validation images
        config.schedule.name = 'cosine'
        config.train.select = 'last'
    return variants.apply(config, head)


def _backbone(config: ConfigDict, s1: bool) -> ConfigDict:
    config.model.name = 'ResNet50' if s1 else 'EfficientNetLite0'
    config.init_from = 'imagenet'
    config.data.source = 'tfds:caltech_birds2010' if s1 else 'folder:birds'
    config.data.image_size = 224
    config.data.validation_fraction = 0.1
    return config
