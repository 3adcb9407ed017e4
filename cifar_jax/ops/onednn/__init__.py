"""The C++ operations over oneDNN: found, loaded and registered with XLA once, if they can be."""

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
    """Returns why there are no C++ operations here, or '' once they are registered."""
    if os.environ.get(VARIABLE) in ('jax', 'xla'):
        return f'${VARIABLE} hides the C++ operations'
    try:
        path = library()
        # The library that our code needs lies where no loader looks for it.
        ctypes.CDLL(str(_onednn()))
        handlers = ctypes.CDLL(str(path))
        for name in HANDLERS:
            capsule = jax.ffi.pycapsule(getattr(handlers, name))
            jax.ffi.register_ffi_target(f'cifar_jax.{name}', capsule, platform='cpu')
    except (OSError, AttributeError, RuntimeError, importlib.metadata.PackageNotFoundError) as e:
        return f'the C++ operations cannot be loaded ({e})'
    return ''


def library() -> pathlib.Path:
    """Returns where the compiled C++ lies.

    Raises:
      OSError: it was not built, for want of a compiler or on another system.
    """
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    path = pathlib.Path(__file__).with_name(f'_library{suffix}')
    if not path.exists():
        raise OSError(
            'they were not built: on x86-64 Linux with a C++ compiler, pip install builds them'
        )
    return path


def _onednn() -> pathlib.Path:
    files = importlib.metadata.files(_DISTRIBUTION) or ()
    found = [file for file in files if file.name == 'libdnnl.so.3']
    if not found:
        raise OSError(f'the package {_DISTRIBUTION} has no libdnnl.so.3')
    return pathlib.Path(str(found[0].locate()))


def version() -> str:
    """Returns the version of oneDNN's wheel."""
    return importlib.metadata.version(_DISTRIBUTION)


def computes(dtype: DTypeLike) -> bool:
    """Whether there are C++ operations for a dtype, on this processor."""
    if problem():
        return False
    if dtype == jnp.bfloat16:
        return bool(ctypes.CDLL(str(library())).has_bfloat16())
    return dtype == jnp.float32
