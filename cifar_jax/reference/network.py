"""A classifier with a loss, an optimizer and a `fit` method."""

import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cifar_jax.reference import graph as graphs
from cifar_jax.reference import losses, optimizers, specs
from cifar_jax.reference.activations import softmax
from cifar_jax.reference.layers import Shape
from cifar_jax.reference.progress import Progress

Line = dict[str, Any]
_EVALUATION_BATCH = 500


class Network:
    """A classifier that is built from a list of layers.

        network = Network(
            [('conv', {'kernel_size': 3, 'depth': 3}), ('maxpool', {'kernel_size': 2}),
             ('activation', {'activation': 'relu'}), ('reshape', {'output_shape': 'flatten'}),
             ('dense', {'neurons': 10}), ('activation', {'activation': 'softmax'})],
            input_shape=(32, 32, 3), learning_rate=0.1)
        network.fit(images, labels, epochs=20, validation=(val_images, val_labels), patience=5)

    The loss is the cross-entropy of logits: a softmax at the end of the list is part of the loss
    (see `losses.cross_entropy`). All randomness is a function of the seed and the epoch.

    Args:
      layers: kinds and options from `specs.KINDS`; the last one gives one value per class.
      input_shape: (height, width, channels).
      learning_rate: for every step, unless `train_epoch` is given `rates`.
      smoothing: label smoothing, from 0 to 1.
      dtype: dtype of the parameters and the computation.
      show: whether to show progress on a terminal.

    Raises:
      SpecError: the layers do not form a classifier.
    """

    def __init__(
        self,
        layers: Sequence[specs.Spec],
        input_shape: Shape,
        *,
        optimizer: optimizers.Optimizer | None = None,
        learning_rate: float = 0.1,
        smoothing: float = 0.0,
        seed: int = 0,
        name: str = 'network',
        dtype: Any = np.float32,
        show: bool = True,
    ) -> None:
        self.name, self.layers, self.seed, self.show = name, list(layers), seed, show
        self.learning_rate, self.smoothing = learning_rate, smoothing
        self.optimizer = optimizer or optimizers.SGD()
        self.dtype = np.dtype(dtype)
        trained = specs.without_softmax(self.layers)
        progress = Progress(f'building {name}', max(1, len(trained)), show)
        self.graph = specs.graph_of(trained, input_shape, progress)
        if len(self.graph.shapes[self.graph.last]) != 1:
            shape = self.graph.shapes[self.graph.last]
            raise specs.SpecError(
                f'{name} ends with {shape}; it must end with one value per class.'
            )
        self.params, self.statistics = self.graph.init(np.random.default_rng(seed), dtype)
        self.optimizer_state = self.optimizer.init(self.params)
        self.epoch = 0
        self.note = ''  # of the checkpoint that was loaded

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return sum(a.size for arrays in self.params.values() for a in arrays.values())

    def step(self, images: np.ndarray, labels: np.ndarray, rate: float, rng: np.random.Generator):
        """Updates the network on one batch, and returns the batch's losses [b] and logits [b k]."""
        images = images.astype(self.dtype, copy=False)
        masks = self.graph.draw_masks(rng, len(images), self.dtype)
        passed = graphs.forward(
            self.graph, self.params, self.statistics, images, train=True, masks=masks
        )
        logits = passed.outputs[self.graph.last]
        batch_losses, gradient = losses.cross_entropy(logits, labels, self.smoothing)
        gradients = graphs.backward(self.graph, self.params, self.statistics, passed, gradient)
        self.params, self.optimizer_state = self.optimizer.update(
            self.params, gradients.params, self.optimizer_state, rate
        )
        self.statistics = passed.statistics
        return batch_losses, logits

    def train_epoch(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int = 1,
        *,
        rates: Sequence[float] | None = None,
        on_step: Callable[[int], None] = lambda count: None,
    ) -> Line:
        """Trains on all images once, in the epoch's random order, and returns the running metrics.

        The last batch is dropped if it is incomplete.

        Args:
          rates: the learning rate of each step.
          on_step: is called after each step, with the number of steps so far.

        Raises:
          FloatingPointError: the loss is no longer finite.
        """
        began = time.perf_counter()
        rng = np.random.default_rng([self.seed, 1, self.epoch])
        order = rng.permutation(len(labels))
        steps = len(labels) // batch_size
        sums = np.zeros(3)
        # An overflow makes the loss infinite, which is checked below.
        with np.errstate(over='ignore', invalid='ignore'):
            for number in range(steps):
                batch = order[number * batch_size : (number + 1) * batch_size]
                rate = self.learning_rate if rates is None else float(rates[number])
                batch_losses, logits = self.step(images[batch], labels[batch], rate, rng)
                sums += _metric_sums(batch_losses, logits, labels[batch])
                if not np.isfinite(sums[0]):
                    raise FloatingPointError(
                        f'the loss of step {self.epoch * steps + number} is not finite'
                    )
                on_step(number + 1)
        self.epoch += 1
        seconds = time.perf_counter() - began
        count = steps * batch_size
        line: Line = {'epoch': self.epoch, 'step': self.epoch * steps}
        line |= {f'train_{key}': value for key, value in _means(sums, count).items()}
        return line | {'images_per_second': count / seconds}

    def fit(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        epochs: int = 20,
        batch_size: int = 1,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        patience: int = 0,
    ) -> list[Line]:
        """Trains, prints a line per epoch, and returns the metrics of each epoch.

        Args:
          validation: images and labels to evaluate on after each epoch.
          patience: number of epochs without a lower validation loss after which training stops
            and the parameters of the best epoch are restored; 0 trains for all epochs.

        Raises:
          ValueError: the batch size is less than 1 or larger than the training set.
        """
        if not 1 <= batch_size <= len(labels):
            raise ValueError(f'batch_size is {batch_size}; choose 1 to {len(labels)} images')
        history: list[Line] = []
        best_loss, best_epoch, best = np.inf, 0, None
        for number in range(1, epochs + 1):
            progress = Progress(f'epoch {number}', len(labels) // batch_size, self.show)
            line = self.train_epoch(images, labels, batch_size, on_step=progress)
            text = f'epoch {number:>3}  loss {line["train_loss"]:.4f}'
            if validation:
                line |= {f'val_{key}': v for key, v in self.evaluate(*validation).items()}
                text += f'  validation loss {line["val_loss"]:.4f}'
                text += f' accuracy {line["val_accuracy"]:.2%}'
                if line['val_loss'] < best_loss:
                    best_loss, best_epoch = line['val_loss'], number
                    best = self.params, self.statistics
            history.append(line)
            if self.show:
                print(f'{text}  {line["images_per_second"]:,.0f} images/s')
            if patience and validation and number - best_epoch >= patience:
                break
        if patience and best:
            self.params, self.statistics = best
        return history

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits [b k] of images [b h w c], in evaluation mode."""
        images = images.astype(self.dtype, copy=False)
        passed = graphs.forward(self.graph, self.params, self.statistics, images)
        return passed.outputs[self.graph.last]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities [b k]."""
        return softmax(self.logits(images))

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Returns the mean loss, accuracy and top-5 accuracy over all images."""
        progress = Progress('evaluating', len(labels), self.show)
        sums = np.zeros(3)
        for start in range(0, len(labels), _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            logits = self.logits(images[part])
            batch_losses, _ = losses.cross_entropy(logits, labels[part])
            sums += _metric_sums(batch_losses, logits, labels[part])
            progress(min(part.stop, len(labels)))
        return _means(sums, len(labels))

    def save(self, path: str | os.PathLike, note: str = '') -> None:
        """Writes the whole training state to an .npz file, atomically.

        Args:
          path: the file's path; no extension is added.
          note: text to store in it; `load` gives it as `self.note`.
        """
        arrays = {
            f'{part}/{node}/{key}': value
            for part, tree in self._trees().items()
            for node, values in tree.items()
            for key, value in values.items()
        }
        about = {'layers': self.layers, 'epoch': self.epoch, 'note': note}
        arrays['about'] = np.array(json.dumps(about))
        path = pathlib.Path(path)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix='.tmp', delete=False) as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)

    def load(self, path: str | os.PathLike) -> 'Network':
        """Loads what `save` wrote for a network with the same layers, and returns this network.

        Raises:
          ValueError: the file is damaged, or holds another network.
          OSError: the file cannot be read.
        """
        with open(path, 'rb') as file:
            try:
                with np.load(file, allow_pickle=False) as archive:
                    arrays = dict(archive)
                about = json.loads(str(arrays.pop('about')))
                layers, epoch = about['layers'], int(about['epoch'])
                note = str(about.get('note', ''))
            except Exception as error:  # zipfile and NumPy raise many kinds at damaged files
                raise ValueError(
                    f'{path} is damaged, or does not hold a network ({error})'
                ) from None
        if layers != json.loads(json.dumps(self.layers)):
            raise ValueError(f'{path} holds a network with other layers')
        trees: dict[str, optimizers.Tree] = {}
        for part, tree in self._trees().items():
            for node, values in tree.items():
                for key, value in values.items():
                    array = arrays.get(f'{part}/{node}/{key}')
                    if array is None or array.shape != value.shape or array.dtype != value.dtype:
                        raise ValueError(f'{path} holds no such {part} of {node} as this network')
                    trees.setdefault(part, {}).setdefault(node, {})[key] = array
        self.params, self.statistics = trees.pop('params'), trees.pop('statistics', {})
        self.optimizer_state, self.epoch, self.note = trees, epoch, note
        return self

    def _trees(self) -> dict[str, optimizers.Tree]:
        """Returns all arrays: parameters, statistics and the optimizer's state."""
        return {'params': self.params, 'statistics': self.statistics, **self.optimizer_state}


def _metric_sums(batch_losses: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the sum of the losses, and the numbers of top-1 and top-5 correct images."""
    label_logits = np.take_along_axis(logits, labels[:, None], axis=1)
    lower = np.arange(logits.shape[1]) < labels[:, None]
    # Among equal logits, the lower class ranks first. NaN is never correct.
    rank = (~(logits <= label_logits) | ((logits == label_logits) & lower)).sum(axis=1)
    return np.array([batch_losses.sum(dtype=np.float64), (rank < 1).sum(), (rank < 5).sum()])


def _means(sums: np.ndarray, count: int) -> dict[str, float]:
    return dict(zip(('loss', 'accuracy', 'top5'), (sums / count).tolist(), strict=True))
