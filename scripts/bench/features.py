"""Contestants that compute the features of images: a step is a forward pass without the head."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.task import Contestant, Task

SIZE = 224


def build(task: Task, framework: str, mode: str) -> Contestant:
    """Returns a contestant of a framework; `mode` is as in training.

    Ours also normalizes the images, which the others get as float32.
    """
    return {'ours': _ours, 'torch': _torch, 'keras': _keras}[framework](task, mode)


def describe(task: Task) -> dict[str, float]:
    """Returns the parameters without the head, and the FLOPs of a forward pass per image."""
    import jax

    from cifar_jax.models import summary
    from cifar_jax.models.image_model import head_name

    model = _model(task)
    shapes, rows = summary.trace(model, (SIZE, SIZE, 3))
    body = {name: tree for name, tree in shapes['params'].items() if name != head_name(model)}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(body))
    return {'parameters': parameters, 'flops': 2 * rows[-1].multiply_adds}


def _model(task: Task) -> Any:
    from cifar_jax import models

    return models.create(task.model, 1)


def _images(task: Task) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (task.batch, SIZE, SIZE, 3), np.uint8)


def _contestant(parameters: float, run: Callable[[], Any]) -> Contestant:
    def steps(count: int) -> None:
        for _ in range(count):
            run()

    return Contestant(int(parameters), steps)


def _ours(task: Task, mode: str) -> Contestant:
    import jax

    from cifar_jax.data.normalize import Normalizer
    from cifar_jax.experiment.backbone import Backbone
    from cifar_jax.experiment.defaults import get_defaults
    from cifar_jax.inference import extraction
    from cifar_jax.machine import keep_freed_memory, use_compilation_cache
    from cifar_jax.training import parallel

    keep_freed_memory()
    config = get_defaults()
    config.ops.backend = mode
    mesh = parallel.make_mesh(0, task.batch)
    use_compilation_cache()
    model = _model(task)
    initial = jax.jit(functools.partial(model.init, train=False))
    variables = initial(jax.random.key(0), np.zeros((1, SIZE, SIZE, 3), np.float32))
    half = np.full((1, 1, 3), 0.5, np.float32)
    backbone = Backbone(model, variables, Normalizer(half, half), np.float32)
    compute, images = extraction.program(backbone, config, mesh), _images(task)
    return _contestant(describe(task)['parameters'], lambda: compute(images))


def _torch(task: Task, mode: str) -> Contestant:
    import torch

    torch.set_num_threads(task.threads)
    torch.set_flush_denormal(True)
    if task.model == 'EfficientNetLite0':
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name('efficientnet-lite0')
        model._fc = torch.nn.Identity()
    else:
        from torchvision import models

        model = models.efficientnet_b0()
        model.classifier = torch.nn.Identity()
    model = model.eval().to(memory_format=torch.channels_last)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    images = torch.from_numpy(_images(task)).permute(0, 3, 1, 2).float().div(255)
    images = images.contiguous(memory_format=torch.channels_last)
    network = model if mode == 'eager' else torch.compile(model)

    def run() -> None:
        with torch.inference_mode():
            network(images)

    return _contestant(parameters, run)


def _keras(task: Task, mode: str) -> Contestant:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    tf.config.threading.set_inter_op_parallelism_threads(task.threads)
    build = getattr(tf.keras.applications, task.model)
    model = build(include_top=False, weights=None, pooling='avg', input_shape=(SIZE, SIZE, 3))
    parameters = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    network = tf.function(lambda images: model(images, training=False), jit_compile=mode == 'jit')
    images = tf.constant(_images(task).astype(np.float32))
    return _contestant(parameters, lambda: network(images).numpy())
