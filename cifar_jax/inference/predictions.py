"""A classifier's predictions for a split: kept by evaluate, read by reports and comparisons."""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int, Num, PyTree

from cifar_jax import files
from cifar_jax.data import normalize, records
from cifar_jax.data.arrays import Arrays, digest
from cifar_jax.data.batches import evaluation_batch_size, evaluation_batches
from cifar_jax.data.records import Images
from cifar_jax.experiment.preprocessing import normalizer_digest
from cifar_jax.experiment.records import Run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.files import FileError
from cifar_jax.inference.classifier import Classifier
from cifar_jax.ops import backend
from cifar_jax.training import metrics, parallel
from cifar_jax.training import state as states

log = logging.getLogger('cifar_jax')

# Of a folder that is read-only, or on a full disk.
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class Predictions(NamedTuple):
    """A classifier's logits of labelled images, in the order of the split."""

    labels: Int[np.ndarray, 'n']
    logits: Float[np.ndarray, 'n classes']
    sha256: str  # of the weights
    data: str = ''  # digest of the images and labels
    preprocessing: str = ''  # digest of the normalizer

    @property
    def log_probabilities(self) -> Float64[np.ndarray, 'n classes']:
        """The logarithms of the classes' probabilities."""
        from scipy.special import log_softmax

        return log_softmax(self.logits.astype(np.float64), axis=-1)

    @property
    def probabilities(self) -> Float64[np.ndarray, 'n classes']:
        """The probabilities of the classes."""
        return np.exp(self.log_probabilities)

    @property
    def classes(self) -> Int[np.ndarray, 'n']:
        """The most probable class of each image."""
        return self.logits.argmax(-1)


def mean_metrics(predictions: Predictions) -> dict[str, float]:
    """Returns loss (mean cross-entropy in nats), accuracy and top5 (fractions), as in training."""
    loss = -predictions.log_probabilities[np.arange(len(predictions.labels)), predictions.labels]
    logits, labels = jnp.asarray(predictions.logits), jnp.asarray(predictions.labels)
    accuracy, top5 = (
        int(metrics.top_k_correct(logits, labels, k).sum()) / len(labels) for k in (1, 5)
    )
    return {'loss': float(loss.mean()), 'accuracy': accuracy, 'top5': top5}


def rounded(predictions: Predictions) -> Predictions:
    """Returns predictions whose logits are the log-probabilities in half precision.

    They take little space when compressed. The predicted classes stay the same.
    """
    logits = predictions.log_probabilities.astype(np.float16)
    [tied] = np.nonzero(logits.argmax(-1) != predictions.classes)
    top = tied, predictions.classes[tied]
    logits[top] = np.nextafter(logits[top], np.float16(np.inf))
    return predictions._replace(logits=logits)


def of(workdir: Workdir, classifier: Classifier, split: str, arrays: Arrays) -> Predictions:
    """Returns a run's predictions for a split: the stored ones, or newly computed ones.

    Args:
      split: 'train', 'validation' or 'test'; its images are `arrays`.
    """
    key = (
        states.sha256(classifier.variables),
        digest(arrays),
        normalizer_digest(classifier.normalizer),
    )
    stored = read(workdir, split)
    if stored and (stored.sha256, stored.data, stored.preprocessing) == key:
        return stored
    logits = make_logits(classifier, len(arrays.labels))(arrays.images)
    predictions = Predictions(np.asarray(arrays.labels), logits, *key)
    with may_be_unwritable(workdir, 'predictions'):
        files.write_arrays(workdir.predictions(split), predictions._asdict())
    return predictions


@contextlib.contextmanager
def may_be_unwritable(workdir: Workdir, results: str) -> Iterator[None]:
    """Logs a warning and continues if the workdir is read-only, or its disk is full.

    Args:
      results: what is written there.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        reason = os.strerror(error.errno)
        log.warning('%s: %s, so that the %s are not kept there', workdir.path, reason, results)


def read(workdir: Workdir, split: str) -> Predictions | None:
    """Returns the predictions that are kept; None if there are none, or a damaged or older file."""
    try:
        arrays = files.read_arrays(workdir.predictions(split))
        labels, logits = arrays['labels'], arrays['logits']
        key = (str(arrays[name]) for name in ('sha256', 'data', 'preprocessing'))
        predictions = Predictions(labels, logits, *key)
    except (FileError, KeyError):
        return None
    consistent = logits.ndim == 2 and labels.shape == logits.shape[:1] and labels.dtype.kind == 'i'
    return predictions if consistent and logits.dtype in (np.float16, np.float32) else None


def of_reported_weights(run: Run, split: str) -> Predictions | None:
    """Returns the stored predictions for a split if they are of the run's reported weights."""
    stored = read(run.workdir, split)
    if stored is None or run.summary.get('sha256', stored.sha256) != stored.sha256:
        return None
    return stored


def make_logits(
    classifier: Classifier, count: int
) -> Callable[[Images], Float32[np.ndarray, 'n classes']]:
    """Returns a compiled function from images to logits, which works in batches of one size.

    The images [n h w c] must have the classifier's size; they are normalised as in training.

    Args:
      count: how many images there will be, so that few do not take the memory of many.
    """

    def logits(
        variables: Mapping[str, PyTree], inputs: Float[Array, 'batch height width channels']
    ) -> Float32[Array, 'batch classes']:
        outputs = classifier.model.apply(variables, inputs, train=False)
        assert isinstance(outputs, jax.Array)  # and no pair: nothing is mutable
        return outputs.astype(np.float32)

    largest = classifier.config.eval_batch_size
    return over_batches(classifier, logits, evaluation_batch_size(count, largest))


def over_batches(
    classifier: Classifier, compute: Callable[..., PyTree], batch_size: int
) -> Callable[..., PyTree]:
    """Returns a compiled function of images, which works in batches of one size.

    Args:
      compute: a function of the variables, a batch of normalised images in the classifier's dtype,
        and further arrays with as many rows; returns a tree of arrays with as many rows.
      batch_size: rounded up to a multiple of the number of devices.

    Returns:
      A function of images [n h w c] and the further arrays; returns `compute`'s tree as NumPy
      arrays.
    """
    mesh = classifier.mesh
    batch_size = -(-batch_size // mesh.size) * mesh.size

    def step(
        variables: Mapping[str, PyTree],
        images: Num[Array, 'batch height width channels'],
        *others: Array,
    ) -> PyTree:
        images = jax.lax.with_sharding_constraint(images, parallel.over_batch(mesh))
        inputs = normalize.apply(classifier.normalizer, normalize.to_unit(images))
        return compute(variables, inputs.astype(classifier.dtype), *others)

    compiled = jax.jit(
        step,
        out_shardings=parallel.replicated(mesh),
        compiler_options=parallel.forward_options(mesh),
    )

    def run(images: Images, *others: np.ndarray) -> PyTree:
        parts = []
        batches = evaluation_batches(len(images), batch_size)
        read = records.read(images, [indices for indices, _ in batches])
        with jax.set_mesh(mesh), backend.use(**classifier.config.ops):
            for (indices, mask), batch in zip(batches, read, strict=True):
                rows = [array[indices] for array in others]
                outputs = compiled(classifier.variables, batch, *rows)
                parts.append(
                    jax.tree.map(lambda array, mask=mask: np.asarray(array)[mask], outputs)
                )
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    return run
