"""The names and layouts that other libraries give to the weights of our backbones.

Arrays are named as our variables ('params/stem/kernel', 'batch_stats/stem_norm/mean'), as Keras
names its layers ('stem_conv/kernel', 'stem_bn/moving_mean'), or as PyTorch its modules
('_conv_stem.weight', 'bn1.running_mean'). What no rule translates keeps its name, which is then
reported when the arrays are matched with a model.
"""

import re
from collections.abc import Mapping

import numpy as np

from cifar_jax.models.efficientnet import EfficientNetB0
from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.resnet import ResNet50

_OURS = ('params/', 'batch_stats/')
# Counters of batches, and Keras' normalization of pixels, whose constants are in `catalogue`.
_DROPPED = re.compile(r'.*\.num_batches_tracked|normalization(_\d+)?/.*')
_KERAS_WEIGHTS = {
    'kernel': 'params/{}/kernel',
    'depthwise_kernel': 'params/{}/kernel',
    'bias': 'params/{}/bias',
    'gamma': 'params/{}/scale',
    'beta': 'params/{}/bias',
    'moving_mean': 'batch_stats/{}/mean',
    'moving_variance': 'batch_stats/{}/var',
}
_TORCH_WEIGHTS = {
    'weight': 'params/{}/kernel',
    'bias': 'params/{}/bias',
    'running_mean': 'batch_stats/{}/mean',
    'running_var': 'batch_stats/{}/var',
}


def translate(model: ImageModel, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns arrays with our names and layouts: kernels [rows columns in out], dense [in out].

    The first kernel of Keras' ResNet50 is for pixels in the order BGR, and is reversed.

    Args:
      model: a backbone; other models have weights with our names only.
      arrays: by the names of one library, which is recognised by their form.
    """
    if any(name.startswith(_OURS) for name in arrays):
        return dict(arrays)
    kept = {name: a for name, a in arrays.items() if not _DROPPED.fullmatch(name)}
    separator = '/' if any('/' in name for name in kept) else '.'
    if separator == '/':
        modules, weights, layout = _keras_modules(model), _KERAS_WEIGHTS, _from_keras
    else:
        modules, weights, layout = _torch_modules(model), _TORCH_WEIGHTS, _from_torch
    translated = {}
    for name, array in kept.items():
        layer, _, weight = name.rpartition(separator)
        module = modules.get(layer)
        if module is None or weight not in weights:
            translated[name] = array
            continue
        ours = weights[weight].format(module)
        if module.endswith('norm') and ours.endswith('kernel'):
            ours = ours.replace('kernel', 'scale')
        translated[ours] = layout(model, module, array)
    return translated


def _keras_modules(model: ImageModel) -> dict[str, str]:
    """Returns the modules of a model by the names of Keras' layers."""
    modules = {'predictions': 'head'}
    if isinstance(model, ResNet50):
        modules |= {'conv1_conv': 'stem', 'conv1_bn': 'stem_norm'}
        inner = {'0_conv': 'shortcut', '0_bn': 'shortcut_norm'}
        for number in (1, 2, 3):
            inner |= {f'{number}_conv': f'conv{number}', f'{number}_bn': f'norm{number}'}
        for stage, block, ours in _blocks(model.blocks):
            theirs = f'conv{stage + 2}_block{block + 1}_'
            modules |= {theirs + name: f'{ours}/{module}' for name, module in inner.items()}
    elif isinstance(model, EfficientNetB0):
        modules |= {'stem_conv': 'stem', 'stem_bn': 'stem_norm'}
        modules |= {'top_conv': 'top', 'top_bn': 'top_norm'}
        inner = {
            'expand_conv': 'expand',
            'expand_bn': 'expand_norm',
            'dwconv': 'depthwise',
            'bn': 'depthwise_norm',
            'se_reduce': 'se/squeeze',
            'se_expand': 'se/excite',
            'project_conv': 'project',
            'project_bn': 'project_norm',
        }
        for stage, block, ours in _blocks(model.blocks):
            theirs = f'block{stage + 1}{chr(ord("a") + block)}_'
            modules |= {theirs + name: f'{ours}/{module}' for name, module in inner.items()}
    return modules


def _torch_modules(model: ImageModel) -> dict[str, str]:
    """Returns the modules of a model by the names of `efficientnet_pytorch` and of `timm`."""
    if not isinstance(model, EfficientNetB0):
        return {}
    modules = {'_conv_stem': 'stem', '_bn0': 'stem_norm', '_fc': 'head'}
    modules |= {'_conv_head': 'top', '_bn1': 'top_norm'}
    modules |= {'conv_stem': 'stem', 'bn1': 'stem_norm', 'classifier': 'head'}
    modules |= {'conv_head': 'top', 'bn2': 'top_norm'}
    inner = {
        '_expand_conv': 'expand',
        '_bn0': 'expand_norm',
        '_depthwise_conv': 'depthwise',
        '_bn1': 'depthwise_norm',
        '_se_reduce': 'se/squeeze',
        '_se_expand': 'se/excite',
        '_project_conv': 'project',
        '_bn2': 'project_norm',
    }
    for number, (stage, block, ours) in enumerate(_blocks(model.blocks)):
        theirs = f'_blocks.{number}.'
        modules |= {theirs + name: f'{ours}/{module}' for name, module in inner.items()}
        theirs, of_timm = f'blocks.{stage}.{block}.', _timm_block(model.expansions[stage] != 1)
        modules |= {theirs + name: f'{ours}/{module}' for name, module in of_timm.items()}
    return modules


def _timm_block(expands: bool) -> dict[str, str]:
    """Returns the modules of a block of `timm`, which numbers its batch norms in their order."""
    common = {
        'conv_dw': 'depthwise',
        'se.conv_reduce': 'se/squeeze',
        'se.conv_expand': 'se/excite',
    }
    if not expands:
        norms = {'bn1': 'depthwise_norm', 'bn2': 'project_norm'}
        return common | norms | {'conv_pw': 'project'}
    norms = {'bn1': 'expand_norm', 'bn2': 'depthwise_norm', 'bn3': 'project_norm'}
    return common | norms | {'conv_pw': 'expand', 'conv_pwl': 'project'}


def _blocks(counts: tuple[int, ...]) -> list[tuple[int, int, str]]:
    """Returns the number of the stage, of the block in it, and the name of each block."""
    return [
        (stage, block, f'stage{stage + 1}_block{block + 1}')
        for stage, count in enumerate(counts)
        for block in range(count)
    ]


def _from_keras(model: ImageModel, module: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 4 and module.endswith('/depthwise'):
        return array.swapaxes(2, 3)
    if array.ndim == 4 and '/se/' in module:
        return array[0, 0]
    if array.ndim == 4 and module == 'stem' and isinstance(model, ResNet50):
        return array[:, :, ::-1]
    return array


def _from_torch(model: ImageModel, module: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
        return array[0, 0] if '/se/' in module else array
    return array.T
