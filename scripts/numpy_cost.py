"""What one image a step costs in NumPy: each layer forward and back, alone and in a batch.

    OPENBLAS_NUM_THREADS=1 python scripts/numpy_cost.py

Prints a table in Markdown. The difference of the two columns is what is paid a step and not an
image: Python, and NumPy's calls of small arrays.
"""

import importlib.util
import pathlib
import time

import numpy as np

from cifar_jax.reference.graph import INPUT
from cifar_jax.reference.losses import cross_entropy
from cifar_jax.reference.network import Network

CONFIG = pathlib.Path(__file__).resolve().parent.parent / 'configs' / 'numpy_cnn.py'
BATCH = 32


def median_us(function, repeats: int = 300) -> float:
    """Returns the median time of a call in microseconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return 1e6 * float(np.median(times))


def costs(layers: list, batch: int) -> dict[str, float]:
    """Returns the microseconds of each layer, the loss, the update and a whole step."""
    network = Network(layers, (32, 32, 3), show=False)
    rng = np.random.default_rng(0)
    images = rng.random((batch, 32, 32, 3), np.float32)
    labels = rng.integers(0, 10, batch)
    found, outputs = {}, {INPUT: images}
    for node in network.graph.nodes:
        values, x = network.params.get(node.name, {}), outputs[node.inputs[0]]
        y, _ = node.layer.forward(values, x, train=True, mask=None)
        outputs[node.name] = y

        def both(node=node, values=values, x=x, y=y):
            _, saved = node.layer.forward(values, x, train=True, mask=None)
            node.layer.backward(values, saved, y)

        found[node.name] = median_us(both)
    found['loss'] = median_us(lambda: cross_entropy(outputs[network.graph.last], labels))
    own = network.params
    found['update'] = median_us(
        lambda: network.optimizer.update(own, own, network.optimizer_state, 0.0)
    )
    found['step'] = median_us(lambda: network.step(images, labels, 1e-6, rng))
    return found


def main() -> None:
    """Runs the script."""
    spec = importlib.util.spec_from_file_location('numpy_cnn', CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layers = list(module.layers(1))
    alone, together = costs(layers, 1), costs(layers, BATCH)
    print(f'| | one image, µs | an image of {BATCH}, µs |\n| --- | ---: | ---: |')
    for name, value in alone.items():
        print(f'| {name} | {value:.0f} | {together[name] / BATCH:.1f} |')


if __name__ == '__main__':
    main()
