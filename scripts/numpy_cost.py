"""Measure the time per image of each layer in NumPy, with one image per step and in batches.

    OPENBLAS_NUM_THREADS=1 python scripts/numpy_cost.py

Prints a Markdown table of forward and backward passes. The difference of the two columns is the
overhead per step: Python, and NumPy's calls on small arrays.
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
    """Returns the median time of a call, in microseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e6 * float(np.median(times))


def costs(layers: list, batch: int) -> dict[str, float]:
    """Returns the times of each layer, the loss, the update and a whole step, in microseconds."""
    network = Network(layers, (32, 32, 3), show=False)
    rng = np.random.default_rng(0)
    images = rng.random((batch, 32, 32, 3), np.float32)
    labels = rng.integers(0, 10, batch)
    times, outputs = {}, {INPUT: images}
    for node in network.graph.nodes:
        values, x = network.params.get(node.name, {}), outputs[node.inputs[0]]
        y, _ = node.layer.forward(values, x, train=True, mask=None)
        outputs[node.name] = y

        def forward_and_backward(node=node, values=values, x=x, y=y):
            _, saved = node.layer.forward(values, x, train=True, mask=None)
            node.layer.backward(values, saved, y)

        times[node.name] = median_us(forward_and_backward)
    times['loss'] = median_us(lambda: cross_entropy(outputs[network.graph.last], labels))
    params = network.params
    times['update'] = median_us(
        lambda: network.optimizer.update(params, params, network.optimizer_state, 0.0)
    )
    times['step'] = median_us(lambda: network.step(images, labels, 1e-6, rng))
    return times


def main() -> None:
    """Runs the script."""
    spec = importlib.util.spec_from_file_location('numpy_cnn', CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layers = list(module.layers(1))
    single, batched = costs(layers, 1), costs(layers, BATCH)
    print(f'| | one image, µs | per image in a batch of {BATCH}, µs |\n| --- | ---: | ---: |')
    for name, value in single.items():
        print(f'| {name} | {value:.0f} | {batched[name] / BATCH:.1f} |')


if __name__ == '__main__':
    main()
