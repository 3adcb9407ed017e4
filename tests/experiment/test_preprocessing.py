"""The stored preprocessing of a run: exact values, and errors of damaged files."""

import json

import numpy as np
import pytest

from cifar_jax.data.arrays import Arrays
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared
from cifar_jax.errors import UserError
from cifar_jax.experiment import preprocessing
from cifar_jax.experiment.workdir import Workdir


def prepared(whitened):
    generator = np.random.default_rng(0)
    part = Arrays(np.zeros((3, 4, 5, 3), np.uint8), np.zeros(3, np.int32))
    mean, std = (generator.random((1, 1, 3), np.float32) for _ in range(2))
    whitening = generator.random((60, 60), np.float32) if whitened else None
    return Prepared(part, None, part, ('a', 'b'), Normalizer(mean, std, whitening))


@pytest.mark.parametrize('whitened', [False, True])
def test_preprocessing_is_read_as_it_was_written(whitened, tmp_path):
    data, workdir = prepared(whitened), Workdir(tmp_path)
    preprocessing.write(workdir, preprocessing.of(data))
    stored = preprocessing.read(workdir)
    assert (stored.classes, stored.image_shape) == (('a', 'b'), (4, 5, 3))
    assert workdir.whitening.exists() == whitened
    for got, want in zip(stored.normalizer, data.normalizer, strict=True):
        assert np.array_equal(got, want) if want is not None else got is None


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, 'is missing'),
        (b'', 'is damaged'),
        (b'PK\x03\x04 and no more', 'is damaged'),
        ('half', 'is damaged'),
        ({'whitening': np.zeros((3, 3), np.float32)}, 'no matrix for 60 pixels'),
        ({'matrix': np.zeros((60, 60), np.float32)}, 'no matrix for'),
        ({'whitening': np.array([object()])}, 'is damaged'),
    ],
)
def test_a_damaged_matrix_is_refused(content, words, tmp_path):
    workdir = Workdir(tmp_path)
    preprocessing.write(workdir, preprocessing.of(prepared(True)))
    whole = workdir.whitening.read_bytes()
    workdir.whitening.unlink()
    if isinstance(content, dict):
        np.savez(workdir.whitening, **content)
    elif content is not None:
        workdir.whitening.write_bytes(whole[: len(whole) // 2] if content == 'half' else content)
    with pytest.raises(UserError, match=words):
        preprocessing.read(workdir)


@pytest.mark.parametrize('text', ['{}', '[]', '{"mean": "x", "std": [], "image_shape": 3}'])
def test_a_damaged_preprocessing_json_is_refused(text, tmp_path):
    workdir = Workdir(tmp_path)
    workdir.preprocessing.write_text(text)
    with pytest.raises(UserError, match='restore it from a copy, or train again'):
        preprocessing.read(workdir)


@pytest.mark.parametrize('whitened', [False, True])
def test_digests_of_the_data_are_kept(whitened, tmp_path):
    data, workdir = prepared(whitened), Workdir(tmp_path)
    preprocessing.write(workdir, preprocessing.of(data))
    assert preprocessing.read(workdir).digests == data.digests()


def test_what_an_older_version_wrote_is_read(tmp_path):
    workdir = Workdir(tmp_path)
    preprocessing.write(workdir, preprocessing.of(prepared(False)))
    stored = json.loads(workdir.preprocessing.read_text())
    for key in ('sha256', 'digests', 'whitened'):
        del stored[key]
    workdir.preprocessing.write_text(json.dumps(stored))
    assert preprocessing.read(workdir).digests == {}


def test_a_whitening_matrix_of_another_run_is_refused(tmp_path):
    workdir = Workdir(tmp_path)
    preprocessing.write(workdir, preprocessing.of(prepared(True)))
    np.savez(workdir.whitening, whitening=np.eye(60, dtype=np.float32))
    with pytest.raises(UserError, match='does not match its own checksum'):
        preprocessing.read(workdir)
