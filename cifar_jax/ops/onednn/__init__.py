"""Loads the C++ operations, which use oneDNN, and registers them with XLA."""

import ctypes
import functools
import importlib.metadata
import os
import pathlib
import sysconfig

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

VARIABLE = 'CIFAR_JAX_OPS'
HANDLERS = ('ConvForward', 'ConvBackward', 'PoolForward', 'PoolBackward')
_DISTRIBUTION = 'onednn-cpu-gomp'


@functools.cache
def problem() -> str:
    """Registers the C++ operations; returns '' or the reason why they are not available."""
    if os.environ.get(VARIABLE) in ('jax', 'xla'):
        return f'${VARIABLE} disables the C++ operations'
    try:
        path = library()
        # Load libdnnl first: it lies where the loader would not look for it.
        ctypes.CDLL(str(_onednn()))
        handlers = ctypes.CDLL(str(path))
        if not hasattr(handlers, 'chooses_winograd'):  # what was added last
            return (
                'the C++ operations are those of an earlier version; '
                '`pip install -e . --no-deps` builds them again'
            )
        for name in HANDLERS:
            capsule = jax.ffi.pycapsule(getattr(handlers, name))
            jax.ffi.register_ffi_target(f'cifar_jax.{name}', capsule, platform='cpu')
    except (OSError, AttributeError, RuntimeError, importlib.metadata.PackageNotFoundError) as e:
        return f'the C++ operations cannot be loaded ({e})'
    return ''


def library() -> pathlib.Path:
    """Returns the path of the compiled C++ library.

    Raises:
      OSError: the library was not built: there was no compiler, or the platform is not supported.
    """
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    path = pathlib.Path(__file__).with_name(f'_library{suffix}')
    if not path.exists():
        raise OSError(
            'they were not built; pip install builds them on x86-64 Linux with a C++ compiler'
        )
    return path


def _onednn() -> pathlib.Path:
    files = importlib.metadata.files(_DISTRIBUTION) or ()
    paths = [file for file in files if file.name == 'libdnnl.so.3']
    if not paths:
        raise OSError(f'the package {_DISTRIBUTION} has no libdnnl.so.3')
    return pathlib.Path(str(paths[0].locate()))


def version() -> str:
    """Returns the version of the installed oneDNN package."""
    return importlib.metadata.version(_DISTRIBUTION)


def computes(dtype: DTypeLike) -> bool:
    """Returns whether the C++ operations support a dtype on this processor."""
    if problem():
        return False
    if dtype == jnp.bfloat16:
        return bool(ctypes.CDLL(str(library())).has_bfloat16())
    return dtype == jnp.float32


def chooses_winograd(
    kernel: tuple[int, int, int, int],
    strides: tuple[int, int],
    groups: int,
    output: tuple[int, int, int],
    *,
    gradient: bool = False,
) -> bool:
    """Returns whether Winograd's algorithm computes a float32 convolution on this processor.

    The outputs are as large as the inputs.

    Args:
      kernel: the shape of the HWIO kernel.
      strides, groups: as for `cifar_jax.ops.conv.conv`.
      output: the number of images on a device, and the height and width of the outputs.
      gradient: whether to answer for its gradients, and not for the forward pass.
    """
    if problem() or strides != (1, 1) or groups > 1:
        return False
    sizes = [ctypes.c_int64(size) for size in (*output, *kernel)]
    return bool(ctypes.CDLL(str(library())).chooses_winograd(*sizes, gradient))
