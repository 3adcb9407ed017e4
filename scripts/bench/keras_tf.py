"""Keras 3 on TensorFlow: training by `tf.function` steps or by `fit`, with and without XLA."""

import os
import pathlib
from collections.abc import Callable

os.environ['KERAS_BACKEND'] = 'tensorflow'  # read when Keras is imported

import keras
import numpy as np
import tensorflow as tf

from bench.keras_models import MODELS
from bench.task import PIXELS, TENSORS, Contestant, Task

AUTOTUNE = tf.data.AUTOTUNE


def build(task: Task, mode: str) -> Contestant:
    """Returns the Keras contestant.

    Args:
      mode: 'graph' or 'jit': a loop of steps without or with XLA; 'fit' or 'fit-jit': `Model.fit`
        without or with XLA.
    """
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    tf.config.threading.set_inter_op_parallelism_threads(task.threads)
    keras.utils.set_random_seed(0)
    if task.precision == 'bfloat16':
        keras.mixed_precision.set_global_policy('mixed_bfloat16')
    model = MODELS[task.model]()
    train = _by_fit(task, mode, model) if mode.startswith('fit') else _by_steps(task, mode, model)
    folder = pathlib.Path(task.folder)
    images, labels = np.load(folder / 'images.npy'), np.load(folder / 'labels.npy')
    forms = {True: per_batch(task, images, labels), False: per_image(task, images, labels)}
    repeated = tf.data.Dataset.from_tensors(next(iter(forms[True]))).cache().repeat()

    def epoch(form: str, batches: int | None) -> None:
        train(forms[form == TENSORS].take(-1 if batches is None else batches))

    return Contestant(
        model.count_params() - _statistics(model), lambda n: train(repeated.take(n)), epoch
    )


def _statistics(model: keras.Model) -> int:
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    return sum(2 * layer.moving_mean.shape[0] for layer in norms)


def _optimizer(task: Task) -> keras.optimizers.Optimizer:
    """Returns the optimizer, which adds L2 to the gradients of all variables."""
    settings = task.optimizer
    if settings['name'] == 'adam':
        base: type = keras.optimizers.Adam
        options = dict(beta_1=settings['b1'], beta_2=settings['b2'], epsilon=settings['eps'])
    else:
        base = keras.optimizers.SGD
        options = dict(momentum=settings['momentum'], nesterov=settings['nesterov'])

    class WithL2(base):
        def apply(self, grads, trainable_variables=None):
            grads = [
                g + settings['l2'] * v for g, v in zip(grads, trainable_variables, strict=True)
            ]
            return super().apply(grads, trainable_variables)

    return (WithL2 if settings['l2'] else base)(settings['rate'], **options)


def _loss(task: Task) -> Callable:
    """Returns a function for the cross-entropy with smoothed labels."""

    def loss_of(labels, logits):
        labels = tf.one_hot(tf.reshape(labels, [-1]), 10)
        return keras.losses.categorical_crossentropy(
            labels, logits, from_logits=True, label_smoothing=task.smoothing
        )

    return loss_of


def _by_fit(task: Task, mode: str, model: keras.Model) -> Callable[[tf.data.Dataset], None]:
    """Returns a function that trains on the batches of a dataset with `fit`."""
    model.compile(_optimizer(task), _loss(task), jit_compile=mode == 'fit-jit')
    return lambda batches: model.fit(batches, verbose=0)


def _by_steps(task: Task, mode: str, model: keras.Model) -> Callable[[tf.data.Dataset], None]:
    """Returns a function that trains on the batches of a dataset with a compiled step."""
    optimizer, loss_of = _optimizer(task), _loss(task)
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function(jit_compile=mode == 'jit')
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(labels, model(images, training=True)))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def train(batches: tf.data.Dataset) -> None:
        loss = None
        for images, labels in batches:
            loss = step(images, labels)
        if loss is not None:
            loss.numpy()

    return train


def _normalized(task: Task, images: tf.Tensor) -> tf.Tensor:
    return (tf.cast(images, tf.float32) / 255 - task.mean) / task.std


def per_image(task: Task, images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Returns batches of images that are cropped and flipped one by one."""

    def augment(image, label):
        image = tf.pad(image, ((PIXELS, PIXELS), (PIXELS, PIXELS), (0, 0)))
        image = tf.image.random_crop(image, (32, 32, 3))
        return _normalized(task, tf.image.random_flip_left_right(image)), label

    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(labels))
    data = data.map(augment, num_parallel_calls=AUTOTUNE)
    return data.batch(task.batch, drop_remainder=True).prefetch(AUTOTUNE)


def per_batch(task: Task, images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Returns batches that are augmented by tensor operations, which is the fastest form."""
    all_labels = tf.constant(labels)
    padded = tf.pad(images, ((0, 0), (PIXELS, PIXELS), (PIXELS, PIXELS), (0, 0)))

    def augment(index):
        shifts = tf.random.uniform((2, task.batch, 1), 0, 2 * PIXELS + 1, tf.int32)
        rows, columns = shifts[0] + tf.range(32), shifts[1] + tf.range(32)
        flipped = tf.random.uniform((task.batch, 1)) < 0.5
        columns = tf.where(flipped, columns[:, ::-1], columns)
        batch = tf.gather(tf.gather(padded, index), rows, batch_dims=1)
        batch = tf.gather(batch, columns, axis=2, batch_dims=1)
        return _normalized(task, batch), tf.gather(all_labels, index)

    order = tf.data.Dataset.range(len(labels)).shuffle(len(labels))
    order = order.batch(task.batch, drop_remainder=True)
    return order.map(augment, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)
