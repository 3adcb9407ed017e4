"""Train, compare, explain and cross-check convolutional image classifiers in JAX.

A trained classifier in Python:

    classifier = cifar_jax.load('runs/senet')
    classifier.predict(images)  # uint8 [n height width channels], one image, a path or paths
    classifier.logits(images), classifier.features(images), classifier.classes
"""

import logging
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cifar_jax.inference.trained import TrainedClassifier

__version__ = '0.1.0'
# Commands import this before anything else. The process may be older: a shell becomes the last
# command of `bash -c 'a && python -m cifar_jax.main ...'`.
IMPORTED_AT = time.time()


def load(workdir: str | os.PathLike[str], checkpoint: str = 'chosen') -> 'TrainedClassifier':
    """Returns the trained classifier of a run: see `cifar_jax.inference.trained`.

    Args:
      workdir: the folder of the run; or a file that scripts/export.py wrote, or senet_cifar10.
      checkpoint: of a run: 'chosen' (the weights that it reports), 'best' or 'latest'.

    Raises:
      UserError: the folder is not a workdir, is damaged, or has no such checkpoint yet.
    """
    # absl, which orbax logs with, gives the root logger a handler where it has none.
    root, placeholder = logging.getLogger(), logging.NullHandler()
    root.addHandler(placeholder)
    try:
        from cifar_jax.inference import trained  # and with it JAX

        return trained.load(workdir, checkpoint)
    finally:
        root.removeHandler(placeholder)
