"""The Python interface of a trained run, which `cifar_jax.load` returns."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh
from jaxtyping import Array, Float, Float32, PyTree, UInt8

from cifar_jax.data import image_files
from cifar_jax.data.batches import evaluation_batch_size
from cifar_jax.errors import UserError, nearest
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import exported, predictions
from cifar_jax.inference.classifier import Classifier
from cifar_jax.training import parallel

Path = str | os.PathLike[str]
Images = np.ndarray | Path | Sequence[Path]


class TrainedClassifier:
    """A trained image classifier, including its preprocessing.

    Images are a batch of uint8 pixels [n height width channels], one image [height width channels],
    the path of an image file, or a list of paths. Files, and arrays of another size, are resized as
    in training. The results for a single image have no axis n.

    Attributes:
      classes: the names of the classes, in the order of the logits.
      image_shape: (height, width, channels) of the training images.
      step: the training step of the weights.
    """

    def __init__(self, classifier: Classifier, image_shape: tuple[int, ...]) -> None:
        self.classes = classifier.classes
        self.image_shape = image_shape
        self.step = classifier.step
        self._classifier = classifier
        self._compiled: dict[tuple[str, int], Callable[..., np.ndarray]] = {}

    def __repr__(self) -> str:
        name = self._classifier.config.model.name
        return f'<{name} of {len(self.classes)} classes, images {self.image_shape}>'

    def predict(self, images: Images) -> list[str] | str:
        """Returns the name of the most probable class of each image.

        Raises:
          UserError: the images have a wrong shape or dtype, or a file cannot be read.
        """
        best = self.logits(images).argmax(-1)
        return self.classes[best] if best.ndim == 0 else [self.classes[label] for label in best]

    def logits(self, images: Images) -> Float32[np.ndarray, '... classes']:
        """Returns the logits, whose softmax gives the probabilities.

        Raises:
          UserError: the images have a wrong shape or dtype, or a file cannot be read.
        """
        return self._compute('__call__', images)

    def features(self, images: Images) -> Float32[np.ndarray, '... features']:
        """Returns the inputs of the model's last layer.

        Raises:
          UserError: the images have a wrong shape or dtype, or a file cannot be read.
        """
        return self._compute('features', images)

    def _compute(self, method: str, images: Images) -> np.ndarray:
        resize = self._classifier.config.data.resize
        batch, single = _batch(images, self.image_shape, resize)
        size = evaluation_batch_size(len(batch), self._classifier.config.eval_batch_size)
        if (method, size) not in self._compiled:
            self._compiled[method, size] = self._compile(method, size)
        results = self._compiled[method, size](batch)
        return results[0] if single else results

    def _compile(self, method: str, batch_size: int) -> Callable[..., np.ndarray]:
        model = self._classifier.model

        def compute(
            variables: Mapping[str, PyTree], inputs: Float[Array, 'batch height width channels']
        ) -> Float32[Array, 'batch outputs']:
            outputs = model.apply(variables, inputs, train=False, method=method)
            assert isinstance(outputs, jax.Array)  # not a pair, since nothing is mutable
            return outputs.astype(jnp.float32)

        return predictions.over_batches(self._classifier, compute, batch_size)


def load(workdir: Path, checkpoint: str = 'chosen') -> TrainedClassifier:
    """Loads the classifier of a run, for JAX's first device.

    Prints nothing, and changes no settings of JAX, signals or logging.

    Args:
      workdir: the folder of the run; or a classifier alone, as for `exported.read`.
      checkpoint: of a run: 'chosen' (the weights that it reports), 'best' or 'latest'.

    Raises:
      UserError: the folder is not a workdir, is damaged, or has no such checkpoint yet.
    """
    text = os.fspath(workdir)
    mesh = Mesh(np.array(jax.devices()[:1]), (parallel.AXIS,), axis_types=(AxisType.Auto,))
    if exported.is_name(text):
        return TrainedClassifier(*exported.read(text, mesh=mesh))
    if '://' in text:
        raise UserError(f'{text} is a URL: give the folder of a run on this machine.')
    folder = pathlib.Path(text).expanduser()
    if not folder.is_dir():
        runs = [str(path) for path in folder.parent.glob('*') if path.is_dir()]
        hint = nearest(str(folder), runs) if runs else 'train it first'
        raise UserError(f'There is no run in {folder}: {hint}')
    if checkpoint not in classifiers.CHECKPOINTS:
        raise UserError(
            f"There is no checkpoint '{checkpoint}': {nearest(checkpoint, classifiers.CHECKPOINTS)}"
        )
    run = Workdir(folder)
    return TrainedClassifier(*classifiers.of_images(run, classifiers.load(run, checkpoint, mesh)))


def _batch(
    images: Images, shape: tuple[int, ...], resize: str
) -> tuple[UInt8[np.ndarray, 'n height width channels'], bool]:
    """Returns images of the training's size, and whether the argument is a single image."""
    height, width, _ = shape
    if isinstance(images, str | os.PathLike):
        return _read([images], shape, resize), True
    if not isinstance(images, np.ndarray) and images and isinstance(images[0], str | os.PathLike):
        return _read(images, shape, resize), False
    array = np.asarray(images)
    _check(array, shape)
    single = array.ndim == 3
    batch = array[None] if single else array
    if batch.shape[1:] != shape:
        batch = np.stack([image_files.from_array(x, (height, width), resize) for x in batch])
    return batch, single


def _check(array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.dtype != np.uint8:
        hint = ': (255 * images).round().astype(np.uint8) if yours are in [0, 1]'
        raise UserError(
            f'The images are {array.dtype}, and must be uint8 pixels from 0 to 255'
            f'{hint if array.dtype.kind == "f" else ""}.'
        )
    channels = shape[-1]
    if array.ndim not in (3, 4) or array.shape[-1] != channels:
        first = array.ndim in (3, 4) and array.shape[-3] == channels
        hint = '; move the channels last, np.moveaxis(images, -3, -1)' if first else ''
        raise UserError(
            f'The images have shape {array.shape}, and must be [n, height, width, {channels}] or '
            f'one image [height, width, {channels}]{hint}.'
        )
    if 0 in array.shape:
        raise UserError(f'An array of shape {array.shape} holds no image.')


def _read(
    paths: Sequence[Path], shape: tuple[int, ...], resize: str
) -> UInt8[np.ndarray, 'n h w 3']:
    height, width, _ = shape
    if height != width:
        raise UserError(
            f'The run was trained on images of {height} x {width}, and files are read as squares: '
            'give arrays.'
        )
    return np.stack([image_files.read(pathlib.Path(path), height, resize) for path in paths])
