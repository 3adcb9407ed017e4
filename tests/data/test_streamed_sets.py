"""Sets that exceed `memory_gb`: the same images, from files that are written once."""

import os
import stat

import numpy as np
import pytest
from test_decoded_folders import config, decoded, load, pictures, write  # noqa: F401
from test_sources import config as config_of

from cifar_jax.data import pipeline, records, sources, splits
from cifar_jax.data.records import Records
from cifar_jax.errors import UserError

STREAMED = dict(memory_gb=1e-9)


def assert_same(streamed, there):
    """Asserts that a streamed part has the images and labels of one in memory."""
    assert isinstance(streamed.images, Records)
    np.testing.assert_array_equal(streamed.images[:], there.images)
    np.testing.assert_array_equal(streamed.labels, there.labels)


# Folders


def test_a_folder_that_is_streamed_has_the_images_and_names_of_one_in_memory(pictures):  # noqa: F811
    there, streamed = (sources.load(config(pictures, **keys)) for keys in ({}, STREAMED))
    assert_same(streamed.train, there.train)
    assert_same(streamed.test, there.test)
    assert (streamed.names, streamed.classes) == (there.names, there.classes)


def test_its_files_are_decoded_once(pictures, decoded):  # noqa: F811
    for _ in range(2):
        sources.load(config(pictures, **STREAMED))
        assert len(decoded) == 10


def test_and_again_when_one_of_them_has_changed(pictures, decoded):  # noqa: F811
    before = load(pictures, **STREAMED)
    write(pictures / 'cat' / '0.png', np.random.default_rng(9))
    after = load(pictures, **STREAMED)
    assert len(decoded) > 10
    assert before != after


def test_damaged_images_of_a_streamed_folder_are_skipped_as_in_memory(pictures, caplog):  # noqa: F811
    (pictures / 'dog' / '1.png').write_bytes(b'no image')
    there = sources.load(config(pictures, damaged='skip'))
    for _ in ('decoded', 'from the files'):
        caplog.clear()
        streamed = sources.load(config(pictures, damaged='skip', **STREAMED))
        assert_same(streamed.train, there.train)
        assert_same(streamed.test, there.test)
        assert streamed.names == there.names
        assert 'dog/1.png cannot be read' in caplog.text


def test_a_damaged_image_stops_a_streamed_folder_and_nothing_is_kept(pictures):  # noqa: F811
    (pictures / 'dog' / '1.png').write_bytes(b'no image')
    with pytest.raises(UserError, match=r'dog/1\.png cannot be read .*damaged=skip'):
        sources.load(config(pictures, **STREAMED))
    assert not list((pictures.parent / 'data').glob('*/.*'))


def test_files_that_change_while_they_are_decoded_are_refused(pictures, decoded, monkeypatch):  # noqa: F811
    real = records.write

    def change(file, images, shape):
        collected = real(file, images, shape)
        write(pictures / 'cat' / '0.png', np.random.default_rng(9))
        return collected

    monkeypatch.setattr(records, 'write', change)
    with pytest.raises(UserError, match='changed while they were decoded: start again'):
        sources.load(config(pictures, **STREAMED))


def test_a_file_that_was_cut_off_is_named_and_written_again(pictures, caplog):  # noqa: F811
    expected = sources.load(config(pictures, **STREAMED)).train.images[:]
    for file in (pictures.parent / 'data').glob(f'*/*/*{records.SUFFIX}'):
        os.truncate(file, 100)
    again = sources.load(config(pictures, **STREAMED)).train.images[:]
    np.testing.assert_array_equal(again, expected)
    assert 'is damaged and created again: images.array_record has 100 bytes and not' in caplog.text


# Any set


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """The digits in memory and streamed, and the config of these."""
    keys = dict(source='digits', dir=str(tmp_path_factory.mktemp('data')), image_size=9)
    streamed = config_of(**keys, **STREAMED)
    return pipeline.prepare(config_of(**keys)), pipeline.prepare(streamed), streamed


def test_a_streamed_set_is_split_and_normalised_as_one_in_memory(digits):
    there, streamed, _ = digits
    for part in ('train', 'validation', 'test'):
        assert_same(getattr(streamed, part), getattr(there, part))
    assert there.digests() == streamed.digests()
    for expected, constant in zip(there.normalizer[:2], streamed.normalizer[:2], strict=True):
        np.testing.assert_array_equal(constant, expected)


def test_some_classes_and_a_fraction_of_a_streamed_set_are_those_of_one_in_memory(digits):
    *_, config = digits
    config = config.copy_and_resolve_references()
    config.classes, config.fraction = 3, 0.1
    streamed = sources.load(config)
    config.memory_gb = 1.0
    there = sources.load(config)
    assert_same(streamed.train, there.train)
    assert_same(streamed.test, there.test)


def test_a_streamed_set_is_written_once(digits, monkeypatch):
    *_, config = digits
    monkeypatch.setattr(records, 'write', None)
    counts = splits.class_counts(sources.load(config).test.labels, 10)
    assert counts.sum() == 360


def test_a_set_that_is_resized_in_another_way_is_another_one(digits):
    *_, config = digits
    config = config.copy_and_resolve_references()
    config.resize = 'crop'
    streamed = sources.load(config)
    config.memory_gb = 1.0
    assert_same(streamed.train, sources.load(config).train)


def test_the_buffer_of_the_config_bounds_what_is_read_ahead(digits):
    *_, config = digits
    config = config.copy_and_resolve_references()
    config.buffer_gb = 7 * 10 * 9 * 9 * 3 / 2**30
    assert sources.load(config).train.images.batches_ahead(10) == 7


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UserError, match=r'cannot be written .*: point --config\.data\.dir'):
        sources.load(config_of(source='digits', dir=str(tmp_path), **STREAMED))


def test_a_file_in_the_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match=r'cannot be written .*: point --config\.data\.dir'):
        sources.load(config_of(source='digits', dir=str(tmp_path / 'file'), **STREAMED))
