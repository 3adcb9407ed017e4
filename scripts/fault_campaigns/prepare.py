"""Prepare two small sets with tensorflow-datasets: python prepare.py DIR.

They have the same classes and sizes, so that one's files fit the other. A program of its own, since
the campaigns fork, which a process that has used TensorFlow must not do.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from cifar_jax.data import decoding

NAMES = ('campaign_one', 'campaign_two')
COUNTS = {'train': 60, 'test': 40}


def main() -> None:
    """Runs the program."""
    tfds = decoding.tensorflow_datasets()

    for seed, own in enumerate(NAMES):

        class MadeUp(tfds.core.GeneratorBasedBuilder):
            name = own
            VERSION = tfds.core.Version('1.0.0')
            pixels = np.random.default_rng(seed)

            def _info(self) -> Any:
                features = tfds.features.FeaturesDict(
                    {
                        'image': tfds.features.Image(shape=(12, 12, 3)),
                        'label': tfds.features.ClassLabel(names=['cat', 'dog', 'owl']),
                    }
                )
                return tfds.core.DatasetInfo(
                    builder=self, features=features, supervised_keys=('image', 'label')
                )

            def _split_generators(self, manager: Any) -> dict[str, Any]:
                return {split: self._generate_examples(n) for split, n in COUNTS.items()}

            def _generate_examples(self, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
                for i in range(count):
                    image = self.pixels.integers(0, 128, (12, 12, 3)) + 50 * (i % 3)
                    yield i, {'image': image.astype(np.uint8), 'label': i % 3}

        MadeUp(data_dir=sys.argv[1]).download_and_prepare()


if __name__ == '__main__':
    main()
