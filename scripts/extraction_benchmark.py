"""Compare the speed of our feature extraction on this CPU with PyTorch and Keras.

    pip install -e '.[bench,transfer]' torchvision
    python scripts/extraction_benchmark.py
    python scripts/extraction_benchmark.py --models EfficientNetLite0 --rounds 5

All compute the features of 224x224 images, batches of 32, by the same architecture with random
weights. Ours is the program of `python -m cifar_jax.features`, which also normalizes the images;
the peers get normalized images. Keras' networks are those of keras.applications, PyTorch's those
of torchvision and efficientnet_lite_pytorch, channels-last. Each contestant is a separate process
that is idle while the others work. Rounds interleave the contestants; warm-up and compilation are
not counted. Speeds are medians over the rounds; a ratio is the median of each round's ratio to the
fastest peer. All cores that the process may use are used; limit them with `taskset`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import process
from cifar_jax.machine import processor

SIZE, BATCH = 224, 32
MODELS = ('EfficientNetLite0', 'EfficientNetB0', 'ResNet50')
MODES = ('ours', 'torch:eager', 'torch:compile', 'keras:graph', 'keras:jit')


def images() -> np.ndarray:
    """Returns uint8[BATCH SIZE SIZE 3] noise."""
    return np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)


def ours(model: str, mode: str) -> Callable[[], Any]:
    """Returns a call that computes the features of a batch by our program."""
    from cifar_jax.data.normalize import Normalizer
    from cifar_jax.experiment.defaults import get_defaults
    from cifar_jax.inference import extraction
    from cifar_jax.inference.backbone import Backbone
    from cifar_jax.machine import keep_freed_memory
    from cifar_jax.training import jax_trainer, parallel

    keep_freed_memory()
    config = get_defaults()
    config.model.name = model
    mesh = parallel.make_mesh(0, BATCH)
    network = jax_trainer.model(config, 1)
    variables = jax_trainer.initial_variables(config, 1, (64, 64, 3))
    half = np.full((1, 1, 3), 0.5, np.float32)
    backbone = Backbone(network, variables, Normalizer(half, half), SIZE, np.float32)
    compute, batch = extraction.program(backbone, config, mesh), images()
    return lambda: compute(batch)


def torch(model: str, mode: str) -> Callable[[], Any]:
    """Returns a call that computes the features of a batch by PyTorch."""
    import torch

    torch.set_num_threads(process.cores())
    if model == 'EfficientNetLite0':
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name('efficientnet-lite0').extract_features
        owner = network.__self__
    else:
        import torchvision

        owner = getattr(torchvision.models, model.lower().replace('netb', 'net_b'))()
        owner.fc = owner.classifier = torch.nn.Identity()
        network = owner
    owner.eval().to(memory_format=torch.channels_last)
    batch = torch.tensor(images().transpose(0, 3, 1, 2) / np.float32(255))
    batch = batch.contiguous(memory_format=torch.channels_last)
    if mode == 'compile':
        network = torch.compile(network)

    def run() -> None:
        with torch.inference_mode():
            features = network(batch)
            if features.ndim == 4:
                features.mean((2, 3))

    return run


def keras(model: str, mode: str) -> Callable[[], Any]:
    """Returns a call that computes the features of a batch by Keras on TensorFlow."""
    import tensorflow as tf

    build = getattr(tf.keras.applications, model, None)
    if build is None:
        raise ModuleNotFoundError(f'keras.applications has no {model}')
    network = build(include_top=False, weights=None, pooling='avg', input_shape=(SIZE, SIZE, 3))
    program = tf.function(lambda x: network(x, training=False), jit_compile=mode == 'jit')
    batch = tf.constant(images().astype(np.float32))
    return lambda: program(batch).numpy()


def work(model: str, contestant: str, seconds: float) -> None:
    """Prints images/s for each line of input, after a first line when it is ready."""
    answers = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(2, 1)  # what libraries print
    framework, _, mode = contestant.partition(':')
    try:
        run = {'ours': ours, 'torch': torch, 'keras': keras}[framework](model, mode)
    except ModuleNotFoundError as error:
        print(json.dumps(str(error)), file=answers)
        return
    for _ in range(3):
        run()
    print(json.dumps(''), file=answers)
    for _ in sys.stdin:
        start, count = time.perf_counter(), 0
        while time.perf_counter() < start + seconds:
            run()
            count += 1
        print(json.dumps(count * BATCH / (time.perf_counter() - start)), file=answers)


def measure(model: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Returns images/s of each round for each contestant that has the network."""
    running = {}
    for name in MODES:
        command = [sys.executable, __file__, '--work', name, '--models', model]
        child = subprocess.Popen(
            [*command, '--seconds', str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=process.environment(name.partition(':')[0]),
            text=True,
        )
        answer = child.stdout.readline()
        if answer and not json.loads(answer):
            running[name] = child
        else:
            reason = json.loads(answer) if answer else 'it died'
            print(f'{model}: not measured by {name} ({reason})', file=sys.stderr)
    speeds: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, child in running.items():
            print('go', file=child.stdin, flush=True)
            speeds[name].append(json.loads(child.stdout.readline()))
    for child in running.values():
        child.communicate()
    return speeds


def main() -> None:
    """Measures all networks and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--models', nargs='+', choices=MODELS, default=MODELS)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--seconds', type=float, default=4.0, help='per contestant and round')
    parser.add_argument('--work', choices=MODES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.models[0], options.work, options.seconds)
        return
    title = f'images/s on {processor()}, {process.cores()} cores, {SIZE}x{SIZE}, batch {BATCH}'
    table = Table('network', *MODES, 'ratio', title=title)
    for model in options.models:
        speeds = measure(model, options.rounds, options.seconds)
        peers = [values for name, values in speeds.items() if name != 'ours']
        ratios = [mine / max(others) for mine, *others in zip(speeds['ours'], *peers, strict=True)]
        medians = (f'{statistics.median(speeds[m]):.1f}' if m in speeds else '-' for m in MODES)
        table.add_row(model, *medians, f'{statistics.median(ratios):.2f}' if peers else '-')
    Console().print(table)


if __name__ == '__main__':
    main()
