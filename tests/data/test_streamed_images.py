"""Images in ArrayRecord files: rows, reading ahead, damage, and what is kept of them."""

import time

import numpy as np
import pytest

from cifar_jax.data import normalize, records
from cifar_jax.data.arrays import Arrays, digest, joined
from cifar_jax.data.records import Records
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3), np.uint8)
LABELS = np.arange(30, dtype=np.int32)


@pytest.fixture
def images(tmp_path):
    return records.write(tmp_path / f'images{records.SUFFIX}', PIXELS, PIXELS.shape)


@pytest.mark.parametrize(
    'rows', [0, -1, np.int32(7), slice(None), slice(4, 20, 3), slice(3, 3), np.array([9, 2, 2])]
)
def test_rows_of_files_are_those_of_an_array(images, rows):
    np.testing.assert_array_equal(images[rows], PIXELS[rows])
    assert images[rows].dtype == np.uint8


def test_files_have_the_shape_and_size_of_the_array(images):
    assert (images.shape, images.dtype, images.ndim) == (PIXELS.shape, PIXELS.dtype, 4)
    assert (len(images), images.nbytes) == (len(PIXELS), PIXELS.nbytes)


def test_some_of_the_rows_are_numbered_from_zero(images):
    taken = Arrays(images, LABELS).take(np.array([5, 8, 2, 7])).take(np.array([3, 0]))
    np.testing.assert_array_equal(taken.images[:], PIXELS[[7, 5]])
    assert taken.labels.tolist() == [7, 5]


def test_a_row_beyond_the_last_is_an_error(images):
    with pytest.raises(IndexError):
        images[30]


@pytest.mark.parametrize('count', [29, 31])
def test_as_many_images_are_written_as_announced(tmp_path, count):
    with pytest.raises(ValueError, match=f'30 images and not {count}'):
        records.write(tmp_path / 'images', PIXELS, (count, 5, 4, 3))


def test_images_of_another_shape_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r'image 1 is \(5, 4, 3\) and not \(4, 5, 3\)'):
        records.write(tmp_path / 'images', PIXELS, (30, 4, 5, 3))


ROWS = np.random.default_rng(1).permutation(30).reshape(6, 5)


def test_batches_are_read_in_order_from_memory_and_from_files(images):
    for source in (PIXELS, images, images.with_buffer(1)):
        read = list(records.read(source, ROWS))
        np.testing.assert_array_equal(np.stack(read), PIXELS[ROWS])


class Counted:
    """Records that count how many of them were read."""

    def __init__(self):
        self.read = 0

    def __getitems__(self, numbers):
        self.read += len(numbers)
        return [PIXELS[number % 30].tobytes() for number in numbers]


def test_no_more_batches_are_read_ahead_than_the_buffer_holds(tmp_path):
    source = Counted()
    images = Records(source, (1000, 5, 4, 3), tmp_path / 'images').with_buffer(3.5 * 5 * 60)
    assert images.batches_ahead(5) == 3
    batches = records.read(images, np.arange(1000).reshape(200, 5))
    next(batches)
    time.sleep(0.2)  # in which 200 batches could be read
    # Three wait, one is in use, and another may have been read for the place of that.
    assert 5 < source.read <= 5 * 5
    batches.close()


def reversed_pixels(record):
    return np.frombuffer(record, np.uint8).reshape(5, 4, 3)[::-1]


@pytest.mark.slow
def test_images_that_are_to_be_decoded_are_so_by_processes_in_order(images, tmp_path):
    encoded = Records(images._source, images.shape, tmp_path / 'images', reversed_pixels)
    assert encoded.encoded
    assert not images.encoded
    read = list(records.read(encoded, ROWS))
    np.testing.assert_array_equal(np.stack(read), PIXELS[ROWS][:, :, ::-1])
    assert {type(batch) for batch in read} == {np.ndarray}  # and no memory that processes share


def test_a_chunk_is_smaller_where_images_are_large(images, monkeypatch):
    monkeypatch.setattr(records, '_LARGEST_CHUNK', 4 * 60 + 1)
    chunks = list(records.chunks(images, 20))
    assert [len(chunk) for chunk in chunks] == [4] * 7 + [2]
    np.testing.assert_array_equal(np.concatenate(chunks), PIXELS)


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize('change', [flip_a_bit, lambda file: file.unlink()])
def test_damaged_files_are_one_sentence_also_while_reading_ahead(tmp_path, images, change):
    change(tmp_path / f'images{records.SUFFIX}')
    whole = [lambda: images[:], lambda: list(records.read(images, ROWS))]
    for read in whole:
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value).startswith(f'The images in {tmp_path} cannot be read (')
        assert str(caught.value).endswith('): remove this folder, and they are decoded again.')


def test_the_digest_is_that_of_the_same_images_in_memory(images):
    rows = np.array([3, 1, 20])
    for part in (slice(None), rows):
        numbers = np.arange(30)[part]
        streamed = Arrays(images, LABELS).take(numbers)
        assert digest(streamed) == digest(Arrays(PIXELS, LABELS).take(numbers))


def test_the_digest_is_computed_once_for_the_same_rows_and_labels(images, tmp_path, monkeypatch):
    part = Arrays(images, LABELS)
    zeros = Arrays(images, np.zeros_like(LABELS))
    different = [
        *(part, part.take(LABELS[:9]), part.take(LABELS[::-1]), Arrays(images, LABELS + 1)),
        *(zeros, zeros.take(LABELS[:9]), zeros.take(LABELS[9:18])),
    ]
    digests = [digest(arrays) for arrays in different]
    assert len({*digests}) == 7
    monkeypatch.setattr(Records, '__getitem__', None)  # nothing can be read
    assert [digest(arrays) for arrays in different] == digests


def test_parts_in_one_folder_have_digests_of_their_own(images, tmp_path):
    other = records.write(tmp_path / f'others{records.SUFFIX}', PIXELS[::-1], PIXELS.shape)
    assert digest(Arrays(images, LABELS)) != digest(Arrays(other, LABELS))


def test_a_damaged_file_of_digests_is_computed_again(images, tmp_path):
    before = digest(Arrays(images, LABELS))
    for file in tmp_path.glob('*.json'):
        file.write_text(file.read_text().replace(before, 'f' * 64))
    assert digest(Arrays(images, LABELS)) == before


@pytest.mark.parametrize('method', normalize.METHODS)
def test_normalisation_is_fitted_as_on_the_same_images_in_memory(images, method):
    data = get_defaults().data
    data.normalize = method
    fits = [normalize.fit(x, data) for x in (PIXELS, images)]
    for there, streamed in zip(*fits, strict=True):
        assert (there is None) == (streamed is None)
        if there is not None:
            np.testing.assert_array_equal(streamed, there)


def test_parts_in_files_cannot_be_joined_which_is_one_sentence(images):
    part = Arrays(images, LABELS)
    assert joined([part]) is part
    with pytest.raises(UserError, match=r'name one of them with --split'):
        joined([part, Arrays(PIXELS, LABELS)])
