"""A network that trains itself: layers, a loss, an optimizer, and `fit`."""

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
_EVALUATED_TOGETHER = 500


class Network:
    """A classifier from a list of layers.

        network = Network(
            [('conv', {'kernel_size': 3, 'depth': 3}), ('maxpool', {'kernel_size': 2}),
             ('activation', {'activation': 'relu'}), ('reshape', {'output_shape': 'flatten'}),
             ('dense', {'neurons': 10}), ('activation', {'activation': 'softmax'})],
            input_shape=(32, 32, 3), learning_rate=0.1)
        network.fit(images, labels, epochs=20, validation=(more, theirs), patience=5)

    The loss is the cross-entropy. It takes logits: a softmax at the end is left to it, see
    `losses.cross_entropy`. Everything random is a function of the seed and the epoch.

    Args:
      layers: as `specs.KINDS` knows them; the last one gives a number a class.
      input_shape: (height, width, channels).
      learning_rate: of every step, unless `train_epoch` is given others.
      smoothing: of the labels.
      dtype: of parameters and computation.
      show: whether building and training show progress on a terminal.

    Raises:
      SpecError: the layers make no network, or no classifier.
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
        computed = specs.computed(self.layers)
        built = Progress(f'building {name}', max(1, len(computed)), show)
        self.graph = specs.graph_of(computed, input_shape, built)
        if len(self.graph.shapes[self.graph.last]) != 1:
            shape = self.graph.shapes[self.graph.last]
            raise specs.SpecError(f'{name} ends with {shape}; it must end with a number a class.')
        self.params, self.statistics = self.graph.init(np.random.default_rng(seed), dtype)
        self.optimizer_state = self.optimizer.init(self.params)
        self.epoch = 0

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(a.size for own in self.params.values() for a in own.values())

    def step(self, images: np.ndarray, labels: np.ndarray, rate: float, rng: np.random.Generator):
        """Takes one step of the optimizer on a batch, and returns its losses [b] and logits."""
        images = images.astype(self.dtype, copy=False)
        masks = self.graph.draw_masks(rng, len(images), self.dtype)
        done = graphs.forward(
            self.graph, self.params, self.statistics, images, train=True, masks=masks
        )
        logits = done.outputs[self.graph.last]
        each, gradient = losses.cross_entropy(logits, labels, self.smoothing)
        found = graphs.backward(self.graph, self.params, self.statistics, done, gradient)
        self.params, self.optimizer_state = self.optimizer.update(
            self.params, found.params, self.optimizer_state, rate
        )
        self.statistics = done.statistics
        return each, logits

    def train_epoch(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int = 1,
        *,
        rates: Sequence[float] | None = None,
        stepped: Callable[[int], None] = lambda done: None,
    ) -> Line:
        """Goes through all images once, in an order of its own, and returns the metrics on the way.

        The last, incomplete batch is left out.

        Args:
          rates: the learning rate of each step.
          stepped: is told how many steps are done, after each of them.

        Raises:
          FloatingPointError: the loss is no longer finite.
        """
        began = time.perf_counter()
        rng = np.random.default_rng([self.seed, 1, self.epoch])
        order = rng.permutation(len(labels))
        steps = len(labels) // batch_size
        sums = np.zeros(3)
        # What overflows makes the loss infinite, which is looked at.
        with np.errstate(over='ignore', invalid='ignore'):
            for number in range(steps):
                batch = order[number * batch_size : (number + 1) * batch_size]
                rate = self.learning_rate if rates is None else float(rates[number])
                each, logits = self.step(images[batch], labels[batch], rate, rng)
                sums += _counted(each, logits, labels[batch])
                if not np.isfinite(sums[0]):
                    raise FloatingPointError(
                        f'the loss of step {self.epoch * steps + number} is not finite'
                    )
                stepped(number + 1)
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
        """Trains, says how each epoch went, and returns its lines.

        Args:
          validation: images and labels that are looked at after each epoch.
          patience: stop after so many epochs without a lower validation loss, and take the
            parameters of the epoch that had the lowest; 0 goes on to the end.
        """
        if not 1 <= batch_size <= len(labels):
            raise ValueError(f'a batch of {batch_size}: from 1 to the {len(labels)} images')
        history: list[Line] = []
        best: tuple[float, int, Any] = (np.inf, 0, None)
        for number in range(1, epochs + 1):
            shown = Progress(f'epoch {number}', len(labels) // batch_size, self.show)
            line = self.train_epoch(images, labels, batch_size, stepped=shown)
            text = f'epoch {number:>3}  loss {line["train_loss"]:.4f}'
            if validation:
                line |= {f'val_{key}': v for key, v in self.evaluate(*validation).items()}
                text += f'  validation loss {line["val_loss"]:.4f}'
                text += f' accuracy {line["val_accuracy"]:.2%}'
                if line['val_loss'] < best[0]:
                    best = line['val_loss'], number, (self.params, self.statistics)
            history.append(line)
            if self.show:
                print(f'{text}  {line["images_per_second"]:,.0f} images/s')
            if patience and validation and number - best[1] >= patience:
                break
        if patience and best[2]:
            self.params, self.statistics = best[2]
        return history

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits [b k] of images [b h w c], as at evaluation."""
        images = images.astype(self.dtype, copy=False)
        done = graphs.forward(self.graph, self.params, self.statistics, images)
        return done.outputs[self.graph.last]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities [b k]."""
        return softmax(self.logits(images))

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Returns loss, accuracy and top5 over all images."""
        shown = Progress('evaluating', len(labels), self.show)
        sums = np.zeros(3)
        for start in range(0, len(labels), _EVALUATED_TOGETHER):
            part = slice(start, start + _EVALUATED_TOGETHER)
            logits = self.logits(images[part])
            sums += _counted(losses.cross_entropy(logits, labels[part])[0], logits, labels[part])
            shown(min(part.stop, len(labels)))
        return _means(sums, len(labels))

    def save(self, path: str | os.PathLike) -> None:
        """Writes everything that training goes on from as .npz, in one step.

        Args:
          path: is taken as it is.
        """
        arrays = {
            f'{part}/{node}/{key}': value
            for part, tree in self._trees().items()
            for node, own in tree.items()
            for key, value in own.items()
        }
        arrays['about'] = np.array(json.dumps({'layers': self.layers, 'epoch': self.epoch}))
        path = pathlib.Path(path)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix='.tmp', delete=False) as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)

    def load(self, path: str | os.PathLike) -> 'Network':
        """Takes what `save` wrote for a network of the same layers, and returns this network.

        Raises:
          ValueError: the file is damaged, or of another network.
          OSError: there is no such file.
        """
        with open(path, 'rb') as file:
            try:
                with np.load(file, allow_pickle=False) as archive:
                    arrays = dict(archive)
                about = json.loads(str(arrays.pop('about')))
                layers, epoch = about['layers'], int(about['epoch'])
            except Exception as error:  # zipfile and NumPy raise many kinds at damaged files
                raise ValueError(f'{path} is damaged, or holds no network ({error})') from None
        if layers != json.loads(json.dumps(self.layers)):
            raise ValueError(f'{path} holds a network of other layers')
        found: dict[str, optimizers.Tree] = {}
        for part, tree in self._trees().items():
            for node, own in tree.items():
                for key, value in own.items():
                    array = arrays.get(f'{part}/{node}/{key}')
                    if array is None or array.shape != value.shape or array.dtype != value.dtype:
                        raise ValueError(f'{path} holds no such {part} of {node} as this network')
                    found.setdefault(part, {}).setdefault(node, {})[key] = array
        self.params, self.statistics = found.pop('params'), found.pop('statistics', {})
        self.optimizer_state, self.epoch = found, epoch
        return self

    def _trees(self) -> dict[str, optimizers.Tree]:
        """All arrays, by what they are."""
        return {'params': self.params, 'statistics': self.statistics, **self.optimizer_state}


def _counted(each: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the sum of losses, and how many images are right, and right within five."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    lower = np.arange(logits.shape[1]) < labels[:, None]
    # Of equal logits the lower class comes first; NaN is never right.
    in_front = (~(logits <= own) | ((logits == own) & lower)).sum(axis=1)
    return np.array([each.sum(dtype=np.float64), (in_front < 1).sum(), (in_front < 5).sum()])


def _means(sums: np.ndarray, count: int) -> dict[str, float]:
    return dict(zip(('loss', 'accuracy', 'top5'), (sums / count).tolist(), strict=True))
