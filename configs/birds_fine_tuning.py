"""S1's fine-tuning on birds: a pretrained network, all of which is trained, with three heads.

    python -m cifar_jax.main --config configs/birds_fine_tuning.py:dense

S1's experiment has the 200 classes of Caltech's birds of 2010, and ResNet50. Its weights and images
have to be downloaded (docs/transfer.md):

    python -m cifar_jax.main --config configs/birds_fine_tuning.py:resnet50_dense

In its place, variants without the prefix take a folder `birds` of photographs in class folders (or
another, --config.data.source=folder:PATH), and EfficientNetLite0, whose weights come with the extra
`transfer`.
Recipe: S1's SGD at 0.01 with inverse-time decay; images are not augmented. S1 does not report the
batch size and the length: here 32, and 3 epochs, of which the best on the validation images is
kept.
Expected, for 100 classes of Caltech's birds of 2011 (2,999 training photographs) and
EfficientNetLite0, on the test images, one seed: 82.6 % (dense), 82.7 % (two_dense), 57.0 % (conv),
90.3 % (ours, whose head alone has 90.1 %), and 91.1 % for ours on all training images (its head
alone has 90.7 %). On a core of an Intel Xeon with AVX-512, 19 images/s: about two and a half
minutes an epoch.

Variants, each also with the prefix resnet50_:
  dense           one dense layer; the default.
  two_dense       before it, a layer of 1,024 units with ReLU.
  conv            before both, a 3x3 convolution to 64 features with ReLU, and the mean after it;
                  dropout of 0.2 after the convolution and of 0.4 before the last layer.
  ours            begins with the head of configs/birds.py:ours (runs/birds-ours, which has to be
                  there); the statistics of batch norm stay those of ImageNet, with which the head
                  was trained; random crops and flips, label smoothing, a cosine rate.
  digits, smoke   ours for a narrow network on scikit-learn's digits; no download.
"""

from typing import Any

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

HEADS: dict[str, dict[str, Any]] = {
    'dense': {},
    'two_dense': dict(hidden=(1024,)),
    'conv': dict(convs=(64,), convs_dropout=0.2, hidden=(1024,), hidden_dropout=0.4),
    'ours': {},
}
VARIANTS = (*variants.SMALL, *HEADS, *(f'resnet50_{head}' for head in HEADS))


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant."""
    config = get_defaults()
    if variant in variants.SMALL:
        variants.narrow_efficientnet(config)
        _ours(config)
        return variants.apply(config, variant)
    s1 = variant.startswith('resnet50_')
    head = variant.removeprefix('resnet50_') or 'dense'
    variants.pretrained(config, 'ResNet50' if s1 else 'EfficientNetLite0')
    config.model.update(HEADS[head])
    config.data.source = 'tfds:caltech_birds2010' if s1 else 'folder:birds'
    config.data.image_size = 224
    config.data.validation_fraction = 0.1
    if head == 'ours':
        config.init_from = f'runs/birds-{variant}:chosen'
        config.optimizer.groups = (dict(pattern='*', frozen_statistics=True),)
        _ours(config)
    else:
        _published(config, s1)
    return config


def _published(config: ConfigDict, s1: bool) -> None:
    variants.inverse_time_sgd(config)
    config.train.batch_size = 32
    config.train.length = '3 epochs'
    config.train.select = 'best'
    if not s1:
        config.model.dropout = 0.0  # S1's heads have only their own


def _ours(config: ConfigDict) -> None:
    config.data.augment = (dict(name='random_resized_crop', scale=(0.35, 1.0)), dict(name='flip'))
    config.loss.label_smoothing = 0.1
    config.schedule.name = 'cosine'
    config.schedule.rate = 0.002
    config.schedule.warmup = '5%'
    config.train.batch_size = 32
    config.train.length = '4 epochs'
