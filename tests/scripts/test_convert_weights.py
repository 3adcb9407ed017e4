"""The script that turns files of weights into safetensors."""

import numpy as np
import pytest

import convert_weights
from cifar_jax import models
from cifar_jax.models.efficientnet import EfficientNetB0
from cifar_jax.models.pretrained import formats, safetensors_files


class Stem(EfficientNetB0):
    """A network that is short to write down."""

    stem: int = 4
    widths: tuple[int, ...] = (3,)
    blocks: tuple[int, ...] = (1,)
    kernels: tuple[int, ...] = (3,)
    strides: tuple[int, ...] = (1,)
    expansions: tuple[int, ...] = (1,)
    squeeze: bool = False
    top: int = 5


def of_keras():
    """Its weights as Keras names them, with a head for two classes."""
    shapes = {
        'stem_conv/kernel': (3, 3, 3, 4),
        'block1a_dwconv/depthwise_kernel': (3, 3, 4, 1),
        'block1a_project_conv/kernel': (1, 1, 4, 3),
        'top_conv/kernel': (1, 1, 3, 5),
        'predictions/kernel': (5, 2),
        'predictions/bias': (2,),
        'normalization/mean': (3,),
    }
    for layer, width in (('stem_bn', 4), ('block1a_bn', 4), ('block1a_project_bn', 3)):
        names = ('gamma', 'beta', 'moving_mean', 'moving_variance')
        shapes |= {f'{layer}/{name}': (width,) for name in names}
    shapes |= {f'top_bn/{name}': (5,) for name in names}
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def convert(monkeypatch, tmp_path, capsys):
    """Writes some weights, converts them, and returns the new file and what was printed."""
    monkeypatch.setitem(models.MODELS, 'EfficientNetB0', Stem)

    def convert(arrays):
        source, target = tmp_path / 'theirs.safetensors', tmp_path / 'ours.safetensors'
        safetensors_files.write(source, arrays)
        arguments = ['--model', 'EfficientNetB0', str(source), str(target)]
        try:
            convert_weights.main(arguments)
        except SystemExit:
            return None, capsys.readouterr().err
        return formats.read(target), capsys.readouterr().out

    return convert


def test_weights_get_our_names_and_a_checksum(convert, tmp_path):
    arrays, out = convert(theirs := of_keras())
    assert len(arrays) == len(theirs) - 1  # all but the normalization
    np.testing.assert_array_equal(arrays['params/head/bias'], theirs['predictions/bias'])
    np.testing.assert_array_equal(
        arrays['params/stage1_block1/depthwise/kernel'],
        theirs['block1a_dwconv/depthwise_kernel'].swapaxes(2, 3),
    )
    checksum = safetensors_files.digest(arrays)
    assert out == f'{tmp_path}/ours.safetensors: {len(arrays)} tensors, sha256 {checksum}\n'


def test_a_body_without_a_head_is_converted(convert):
    body = {name: a for name, a in of_keras().items() if not name.startswith('predictions')}
    arrays, _ = convert(body)
    assert 'params/top/kernel' in arrays
    assert not any('head' in name for name in arrays)


def test_weights_of_another_network_are_one_sentence(convert):
    arrays, err = convert(of_keras() | {'block2a_bn/gamma': np.zeros(3, np.float32)})
    assert arrays is None
    assert err.startswith('cifar_jax: ')
    assert 'block2a_bn/gamma is float32[3] there and absent here' in err
