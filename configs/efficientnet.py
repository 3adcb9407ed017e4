"""S2's transfer to CIFAR-100: EfficientNetB0 with ImageNet's weights, all of which is trained.

    python -m cifar_jax.main --config configs/efficientnet.py

Its weights have to be downloaded (docs/transfer.md). In its place, lite0 trains EfficientNetLite0,
whose weights come with the extra `transfer`, on images of 128x128:

    python -m cifar_jax.main --config configs/efficientnet.py:lite0

Recipe: images enlarged to 224x224 on the device, mean, dropout of 0.2, one dense layer. Images are
flipped, half of them shifted sideways, a fifth distorted along a grid, and a fifth elastically. S2
does not report the optimizer, the length, the batch size and how far images are shifted: here
Nesterov SGD at 0.02 with a cosine rate and ten times the rate for the new layer, 2 epochs, 64, and
10 %.
Expected: S2 reports 79.7 % on the test images. lite0 has 73.7 %, or 79.9 % after the 8 epochs of
--config.train.length='8 epochs', and lite0_cifar10 89.9 % (one seed each), where a linear probe of
the same network at 128x128 has 86.6 % on CIFAR-10. On a core with AVX-512, 60 images/s: eleven to
twelve minutes an epoch.

Variants:
  lite0           EfficientNetLite0 at 128x128 on CIFAR-100.
  lite0_cifar10   The same on CIFAR-10.
  digits, smoke   A narrow network on scikit-learn's digits; no download.
"""

from ml_collections import ConfigDict

from cifar_jax.experiment import variants
from cifar_jax.experiment.defaults import get_defaults

VARIANTS = (*variants.SMALL, 'lite0', 'lite0_cifar10')


def get_config(variant: str = '') -> ConfigDict:
    """Returns the config of a variant; '' is S2's experiment."""
    config = get_defaults()
    variants.pretrained(config, 'EfficientNetLite0' if variant else 'EfficientNetB0')
    config.model.input_size = 128 if variant else 224
    config.data.source = 'cifar10' if variant == 'lite0_cifar10' else 'cifar100'
    config.data.augment = (
        dict(name='flip'),
        dict(name='shift', fraction=(0.0, 0.1), mode='nearest', p=0.5),
        dict(name='grid_distortion', p=0.2),
        dict(name='elastic', p=0.2),
    )
    config.optimizer.groups = (dict(pattern='head/*', rate=10.0),)
    config.schedule.name = 'cosine'
    config.schedule.rate = 0.02
    config.schedule.warmup = '5%'
    config.train.batch_size = 64
    config.train.length = '2 epochs'
    if variant in variants.SMALL:
        variants.narrow_efficientnet(config)
    return variants.apply(config, variant)
