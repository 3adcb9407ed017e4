"""Builds the C++ operations where that is possible; without them the package runs on JAX alone."""

import importlib.metadata
import importlib.util
import pathlib
import platform
import sys

from setuptools import Extension, setup

FOLDER = pathlib.Path('cifar_jax/ops/onednn')


def onednn(file):
    """Returns the folder of a file of oneDNN's wheels."""
    for package in ('onednn-devel-cpu-gomp', 'onednn-cpu-gomp'):
        for path in importlib.metadata.files(package) or ():
            if path.as_posix().endswith(file):
                return str(pathlib.Path(path.locate()).resolve().parent)
    raise FileNotFoundError(file)


def operations():
    """Returns the extension, which is optional: no compiler is no error."""
    jaxlib = pathlib.Path(importlib.util.find_spec('jaxlib').origin).parent
    headers = pathlib.Path(onednn('oneapi/dnnl/dnnl.hpp')).parents[1]
    return Extension(
        'cifar_jax.ops.onednn._library',
        sources=sorted(map(str, FOLDER.glob('*.cc'))),
        depends=sorted(map(str, FOLDER.glob('*.h'))),
        include_dirs=[str(headers), str(jaxlib / 'include')],
        library_dirs=[onednn('libdnnl.so.3')],
        # No -march: the code chooses the instruction set when it runs.
        extra_compile_args=['-O3', '-g0', '-std=c++17', '-fopenmp', '-Wall'],
        extra_link_args=['-l:libdnnl.so.3', '-fopenmp'],
        language='c++',
        optional=True,
    )


here = sys.platform == 'linux' and platform.machine() == 'x86_64'
setup(ext_modules=[operations()] if here else [])
