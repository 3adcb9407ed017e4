"""Measures the machine's fastest square matrix product, in a separate process.

    python -m bench.peak THREADS PRECISION ...

prints a JSON object of GFLOP/s by precision: the best of several sizes, and of JAX, NumPy (float32
only) and PyTorch if it is installed. None of these is optimal on every processor, so a network's
convolutions can exceed this rate.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

SIZES = (1024, 2048, 3072)


def gflops(multiply: Callable[[], object], size: int, seconds: float = 1.0) -> float:
    """Returns the rate of the fastest product among those computed within `seconds`."""
    multiply()
    best, end = float('inf'), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - start)
    return 2e-9 * size**3 / best


def numpy_peak() -> float:
    """Returns NumPy's rate in float32."""

    def at(size: int) -> float:
        a, b = np.random.default_rng(0).random((2, size, size), np.float32)
        out = np.empty_like(a)
        return gflops(lambda: np.matmul(a, b, out=out), size)

    return max(map(at, SIZES))


def jax_peak(precision: str) -> float:
    """Returns JAX's rate, on all cores available to this process."""
    import jax
    import jax.numpy as jnp

    def at(size: int) -> float:
        a, b = (jnp.ones((size, size), precision) for _ in range(2))
        multiply = jax.jit(jnp.matmul)
        return gflops(lambda: multiply(a, b).block_until_ready(), size)

    return max(map(at, SIZES))


def torch_peak(threads: int, precision: str) -> float:
    """Returns PyTorch's rate, or 0 if it is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return 0.0
    torch.set_num_threads(threads)

    def at(size: int) -> float:
        a, b = torch.rand(2, size, size).to(getattr(torch, precision))
        out = torch.empty_like(a)
        return gflops(lambda: torch.mm(a, b, out=out), size)

    return max(map(at, SIZES))


def main() -> None:
    """Runs the program."""
    threads, *precisions = sys.argv[1:]
    peaks = {}
    for precision in precisions:
        rates = [torch_peak(int(threads), precision), jax_peak(precision)]
        peaks[precision] = max(rates + [numpy_peak()] * (precision == 'float32'))
    print(json.dumps(peaks))


if __name__ == '__main__':
    main()
