"""Files of weights of other libraries: what is read from them, and what is refused."""

import collections
import io
import os
import pickle
import sys
import types
import zipfile

import h5py
import numpy as np
import pytest

from cifar_jax.errors import UserError
from cifar_jax.models.pretrained import formats, safetensors_files, torch_files

RNG = np.random.default_rng(0)
ARRAYS = {
    'conv/kernel': RNG.normal(size=(3, 3, 2, 4)).astype(np.float32),
    'conv/bias': RNG.normal(size=4).astype(np.float32),
    'norm/gamma': RNG.normal(size=4).astype(np.float32),
    'norm/beta': RNG.normal(size=4).astype(np.float32),
    'norm/moving_mean': RNG.normal(size=4).astype(np.float32),
    'norm/moving_variance': RNG.normal(size=4).astype(np.float32),
}


def assert_equal(read, expected):
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def refusal(path):
    """The sentence with which a file is refused."""
    with pytest.raises(UserError) as error:
        formats.read(path)
    sentence = str(error.value)
    assert '\n' not in sentence
    assert sentence.endswith('.')
    return sentence


# safetensors


def test_safetensors_come_back_as_they_were_written(tmp_path):
    path = tmp_path / 'weights.safetensors'
    checksum = safetensors_files.write(path, {**ARRAYS, 't': ARRAYS['conv/kernel'].T}, model='A')
    assert_equal(formats.read(path), {**ARRAYS, 't': ARRAYS['conv/kernel'].T})
    assert checksum.encode() in path.read_bytes()


def test_the_checksum_depends_on_names_shapes_dtypes_and_values():
    zeros = np.zeros((2, 3), np.float32)
    variants = [
        {'a': zeros},
        {'b': zeros},
        {'a': zeros.T},
        {'a': zeros.view(np.int32)},
        {'a': zeros + 1},
    ]
    assert len({safetensors_files.digest(arrays) for arrays in variants}) == len(variants)


def test_safetensors_of_other_programs_need_no_checksum(tmp_path):
    from safetensors import numpy

    numpy.save_file(ARRAYS, tmp_path / 'weights.safetensors')
    assert_equal(formats.read(tmp_path / 'weights.safetensors'), ARRAYS)


def test_a_changed_value_of_safetensors_is_noticed(tmp_path):
    path = tmp_path / 'weights.safetensors'
    safetensors_files.write(path, ARRAYS)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert 'its tensors do not match its checksum' in refusal(path)


# Keras


def write_as_keras_2(file, prefix=''):
    """The layout of published files: layers and weights are listed in attributes, as bytes."""
    root = file.create_group(prefix) if prefix else file
    layers = ['input', 'conv', 'norm']
    root.attrs['layer_names'] = [name.encode() for name in layers]
    for layer in layers:
        group = root.create_group(layer)
        names = [name for name in ARRAYS if name.startswith(f'{layer}/')]
        group.attrs['weight_names'] = [f'{name}:0'.encode() for name in names]
        for name in names:
            group[f'{name}:0'] = ARRAYS[name]


def write_as_keras_3(file):
    """Weights by number in groups by class; the name of the layer is an attribute."""
    for group, layer in (('conv2d_7', 'conv'), ('batch_normalization', 'norm'), ('re_lu', None)):
        variables = file.create_group(f'layers/{group}/vars')
        arrays = [a for name, a in ARRAYS.items() if name.startswith(f'{layer}/')]
        if arrays:
            variables.attrs['name'] = layer
        for number, array in enumerate(arrays):
            variables[str(number)] = array


@pytest.mark.parametrize(
    'write',
    [
        write_as_keras_2,
        lambda file: write_as_keras_2(file, 'model_weights'),
        write_as_keras_3,
    ],
    ids=['keras 2 weights', 'keras 2 model', 'keras 3 weights'],
)
def test_hdf5_of_keras_is_read_by_layer_and_weight(tmp_path, write):
    with h5py.File(tmp_path / 'weights.h5', 'w') as file:
        write(file)
    assert_equal(formats.read(tmp_path / 'weights.h5'), ARRAYS)


def keras_archive(path, compression=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with h5py.File(content, 'w') as file:
        write_as_keras_3(file)
        if compression != zipfile.ZIP_STORED:
            file['zeros'] = np.zeros(2**20)
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('config.json', '{}')
        archive.writestr('model.weights.h5', content.getvalue())


def test_an_archive_of_keras_3_is_read_like_its_weights(tmp_path):
    keras_archive(tmp_path / 'model.keras')
    assert_equal(formats.read(tmp_path / 'model.keras'), ARRAYS)


def test_an_archive_of_keras_that_grows_a_hundredfold_is_refused(tmp_path):
    keras_archive(tmp_path / 'model.keras', zipfile.ZIP_DEFLATED)
    assert 'it claims to hold far more than its size' in refusal(tmp_path / 'model.keras')


def test_hdf5_that_claims_more_than_its_size_is_refused_before_it_takes_memory(tmp_path):
    with h5py.File(tmp_path / 'weights.h5', 'w') as file:
        variables = file.create_group('layers/conv/vars')
        variables.create_dataset('0', (2**20, 2**20, 2**10), 'f4', chunks=True)
    assert 'it claims to hold far more than its size' in refusal(tmp_path / 'weights.h5')


def test_hdf5_without_layers_is_refused(tmp_path):
    with h5py.File(tmp_path / 'weights.h5', 'w') as file:
        file.create_group('layers')
    assert 'it holds no layers' in refusal(tmp_path / 'weights.h5')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['model.keras', 'model.weights.h5', 'model.h5'])
@pytest.mark.filterwarnings('ignore:__array__ implementation')
@pytest.mark.filterwarnings('ignore:You are saving your model as an HDF5 file')
def test_files_that_keras_writes_are_read(tmp_path, name):
    keras = pytest.importorskip('keras', reason='Keras is not installed')
    layers = [
        keras.layers.Conv2D(4, 3, name='first'),
        keras.layers.DepthwiseConv2D(3, use_bias=False, name='second'),
        keras.layers.BatchNormalization(name='third'),
    ]
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    model.set_weights([RNG.normal(size=w.shape) for w in model.weights])
    (model.save_weights if 'weights' in name else model.save)(tmp_path / name)
    expected = {'/'.join(w.path.split('/')[-2:]): w.numpy() for w in model.weights}
    assert_equal(formats.read(tmp_path / name), expected)


# PyTorch


class Storage:
    """Stands for the values of tensors, which a file holds beside the pickle."""

    def __init__(self, key, values, kind='FloatStorage'):
        self.key, self.values, self.kind = key, values, kind


class Tensor:
    """Stands for a tensor, and is pickled like one."""

    def __init__(self, storage, offset, shape, strides):
        self.state = storage, offset, shape, strides, False, collections.OrderedDict()

    def __reduce__(self):
        return sys.modules['torch._utils']._rebuild_tensor_v2, self.state


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            kind = getattr(sys.modules['torch'], value.kind)
            return 'storage', kind, value.key, 'cpu', len(value.values)
        return None


@pytest.fixture
def names_of_torch(monkeypatch):
    """Modules with the names that a file of PyTorch has."""
    torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')
    for name in ('FloatStorage', 'HalfStorage', 'LongStorage', 'QInt8Storage'):
        setattr(torch, name, type(name, (), {'__module__': 'torch'}))
    utils._rebuild_tensor_v2 = types.FunctionType((lambda *a: a).__code__, {}, '_rebuild_tensor_v2')
    utils._rebuild_tensor_v2.__module__ = 'torch._utils'
    utils._rebuild_tensor_v2.__qualname__ = '_rebuild_tensor_v2'
    monkeypatch.setitem(sys.modules, 'torch', torch)
    monkeypatch.setitem(sys.modules, 'torch._utils', utils)


def pickled(value):
    stream = io.BytesIO()
    Pickler(stream, 2).dump(value)
    return stream.getvalue()


def write_archive(path, state, storages):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('weights/data.pkl', pickled(state))
        archive.writestr('weights/byteorder', 'little')
        for storage in storages:
            archive.writestr(f'weights/data/{storage.key}', storage.values.tobytes())


def write_row(path, state, storages):
    parts = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}, state]
    parts.append([storage.key for storage in storages])
    content = b''.join(map(pickled, parts))
    for storage in storages:
        content += len(storage.values).to_bytes(8, 'little') + storage.values.tobytes()
    path.write_bytes(content)


def state_dict():
    """Two views of one storage, one of them transposed; halves; and a counter without axes."""
    first = Storage('0', np.arange(12, dtype='<f4'))
    half = Storage('1', np.array([1, 2.5], '<f2'), 'HalfStorage')
    count = Storage('2', np.array([7], '<i8'), 'LongStorage')
    state = collections.OrderedDict(
        weight=Tensor(first, 0, (2, 3), (3, 1)),
        transposed=Tensor(first, 6, (3, 2), (1, 3)),
        half=Tensor(half, 0, (2,), (1,)),
        count=Tensor(count, 0, (), ()),
    )
    state._metadata = collections.OrderedDict(version=1)
    expected = {
        'weight': np.arange(6, dtype=np.float32).reshape(2, 3),
        'transposed': np.arange(6, 12, dtype=np.float32).reshape(2, 3).T,
        'half': np.float32([1, 2.5]),
        'count': np.array(7, np.int64),
    }
    return state, [first, half, count], expected


WRITERS = [write_archive, write_row]


@pytest.mark.parametrize('write', WRITERS)
def test_a_state_dict_of_pytorch_is_read_without_pytorch(tmp_path, names_of_torch, write):
    state, storages, expected = state_dict()
    write(tmp_path / 'weights.pth', state, storages)
    assert_equal(formats.read(tmp_path / 'weights.pth'), expected)


@pytest.mark.slow
@pytest.mark.parametrize('zipped', [True, False])
def test_files_that_pytorch_writes_are_read(tmp_path, zipped):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4))
    state = {**model.state_dict(), 'view': model[0].weight.detach()[1:3, :, ::2].transpose(0, 1)}
    path = tmp_path / 'weights.pth'
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert_equal(formats.read(path), {name: tensor.numpy() for name, tensor in state.items()})


class Command:
    """Is executed by an unpickler that knows every name."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('write', WRITERS)
def test_a_pickle_that_asks_for_more_than_tensors_is_not_executed(tmp_path, names_of_torch, write):
    write(tmp_path / 'weights.pth', {'weight': Command(tmp_path / 'executed')}, [])
    assert f'it asks for {os.mkdir.__module__}.mkdir' in (
        sentence := refusal(tmp_path / 'weights.pth')
    )
    assert 'which is not a tensor' in sentence
    assert not (tmp_path / 'executed').exists()


def test_a_pickle_cannot_change_what_the_next_one_is_given():
    name = b'ctorch._utils\n_rebuild_tensor_v2\n'
    change = b'(N}X\x04\x00\x00\x00evilK\x01stb.'
    torch_files._plain(io.BytesIO(b'\x80\x02' + name + change))
    assert not hasattr(torch_files._tensor, 'evil')


@pytest.mark.parametrize(
    ('tensor', 'reason'),
    [
        (lambda s: Tensor(s, 0, (13,), (1,)), 'reaches beyond'),
        (lambda s: Tensor(s, 1, (12,), (1,)), 'reaches beyond'),
        (lambda s: Tensor(s, 0, (3, 2), (1, 12)), 'reaches beyond'),
        (lambda s: Tensor(s, 0, (10**6, 10**6), (0, 0)), 'reaches beyond'),
        (lambda s: Tensor(s, -1, (2,), (1,)), 'does not hold what it says'),
        (lambda s: Tensor(s, 11, (2,), (-1,)), 'does not hold what it says'),
        (lambda s: Tensor([], 0, (2,), (1,)), 'a tensor without values'),
        (lambda s: [1, 2], "its 'weight' is not a tensor"),
    ],
)
@pytest.mark.parametrize('write', WRITERS)
def test_a_tensor_that_is_none_is_refused(tmp_path, names_of_torch, write, tensor, reason):
    storage = Storage('0', np.arange(12, dtype='<f4'))
    state = {'good': Tensor(storage, 0, (12,), (1,)), 'weight': tensor(storage)}
    write(tmp_path / 'weights.pth', state, [storage])
    assert reason in refusal(tmp_path / 'weights.pth')


def test_an_unknown_kind_of_numbers_is_refused(tmp_path, names_of_torch):
    storage = Storage('0', np.zeros(2, '<i1'), 'QInt8Storage')
    write_archive(tmp_path / 'weights.pth', {'a': Tensor(storage, 0, (2,), (1,))}, [storage])
    assert 'it asks for torch.QInt8Storage' in refusal(tmp_path / 'weights.pth')


def test_a_storage_of_another_length_is_refused(tmp_path, names_of_torch):
    state, storages, _ = state_dict()
    storages[0].values = np.arange(12, dtype='<f4')
    write_row(tmp_path / 'row.pth', state, storages)
    content = (tmp_path / 'row.pth').read_bytes()
    length = (12).to_bytes(8, 'little')
    assert content.count(length) == 1
    (tmp_path / 'row.pth').write_bytes(content.replace(length, (11).to_bytes(8, 'little')))
    assert 'storage 0 has 11 values' in refusal(tmp_path / 'row.pth')


def test_a_compressed_archive_of_pytorch_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'weights.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('weights/data.pkl', bytes(10_000))
    assert 'compressed, as PyTorch never does' in refusal(tmp_path / 'weights.pth')


@pytest.mark.parametrize('order', ['archive', 'row'])
def test_numbers_of_a_big_endian_machine_are_refused(tmp_path, names_of_torch, order):
    path = tmp_path / 'weights.pth'
    if order == 'archive':
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('a/data.pkl', pickled({}))
            archive.writestr('a/byteorder', 'big')
    else:
        parts = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': False}, {}]
        path.write_bytes(b''.join(map(pickled, parts)))
    assert 'big-endian' in refusal(path)


# All formats


def every_format(folder):
    """A good file of each format."""
    state, storages, _ = state_dict()
    safetensors_files.write(folder / 'a.safetensors', ARRAYS)
    with h5py.File(folder / 'b.h5', 'w') as file:
        write_as_keras_2(file)
    keras_archive(folder / 'c.keras')
    write_archive(folder / 'd.pth', state, storages)
    write_row(folder / 'e.pth', state, storages)
    return sorted(folder.iterdir())


def test_the_content_decides_and_not_the_suffix(tmp_path, names_of_torch):
    for path in every_format(tmp_path):
        read = formats.read(path)
        assert_equal(formats.read(path.rename(tmp_path / f'{path.stem}.bin')), read)


@pytest.mark.parametrize('share', [0.0, 0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_of_any_format_is_one_sentence(tmp_path, names_of_torch, share):
    for path in every_format(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert refusal(path).startswith(f'{path} cannot be read as weights')


@pytest.mark.parametrize('content', [b'', b'no weights', b'\x89PNG\r\n\x1a\n' + bytes(99), b'\x80'])
def test_a_foreign_file_is_one_sentence(tmp_path, content):
    (tmp_path / 'weights.safetensors').write_bytes(content)
    assert 'as weights of safetensors, Keras or PyTorch (' in refusal(
        tmp_path / 'weights.safetensors'
    )


def test_a_missing_file_and_a_folder_are_one_sentence(tmp_path):
    for path in (tmp_path / 'absent.h5', tmp_path):
        assert refusal(path) == f'There is no file {path}: check its name and folder.'
