"""The training in PyTorch that S4's recipe is compared with."""

import numpy as np
import pytest

from cifar_jax.data.arrays import Arrays
from cifar_jax.experiment import config as configs

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
import s4_in_pytorch  # noqa: E402
from bench import s4_recipe  # noqa: E402 (it imports PyTorch)


def test_the_recipe_is_that_of_the_config():
    config = configs.load(str(s4_in_pytorch.CONFIG), [])
    assert config.train.batch_size == s4_recipe.BATCH
    assert (config.schedule.rate, config.optimizer.l2) == (s4_recipe.RATE, s4_recipe.L2)
    assert tuple(f'{epoch} epochs' for epoch in s4_recipe.DROPS) == config.schedule.at
    assert (config.schedule.name, config.schedule.decay) == ('step', 0.1)
    assert (config.optimizer.name, config.data.normalize) == ('adam', 'given')
    assert (config.optimizer.b1, config.optimizer.b2, config.optimizer.eps) == (0.9, 0.999, 1e-8)


def test_images_are_normalised_as_by_the_config():
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[0, 1, 2] = (0, 51, 255)
    part = s4_recipe.Part(Arrays(pixels, np.array([3], np.int32)))
    np.testing.assert_allclose(part.images[0, :, 1, 2], [-1, -0.6, 1], rtol=1e-6)
    assert part.labels.tolist() == [3]


def test_two_brightnesses_are_told_apart(monkeypatch):
    monkeypatch.setattr(s4_recipe, 'BATCH', 32)
    torch.manual_seed(0)
    labels = np.arange(256, dtype=np.int32) % 2
    pixels = np.full((256, 32, 32, 3), 255, np.uint8) * labels.astype(np.uint8)[:, None, None, None]
    part = s4_recipe.Part(Arrays(pixels, labels))
    scores = list(s4_recipe.epochs(part, part, 8))
    assert scores[0][0].accuracy < scores[-1][0].accuracy
    assert scores[-1][1].accuracy == 1
