"""Reading image files of all formats as RGB, and errors."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cifar_jax.data import image_files
from cifar_jax.errors import UserError

WHITE, RED, GREEN, BLUE, BLACK = (
    (255, 255, 255),
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (0, 0, 0),
)
# Two rows of two colours, and a grey, each at full strength: no rounding can excuse a difference.
COLOURS = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)
NO_LOSS = {'PNG': {}, 'BMP': {}, 'TIFF': {}, 'WEBP': {'lossless': True}, 'GIF': {}}


def photo(rows=37, columns=53, channels=3):
    shape = (rows, columns, channels) if channels > 1 else (rows, columns)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def saved(image, path, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize('size', [8, 37, 64])
@pytest.mark.parametrize('ending', ['png', 'jpg', 'jpeg', 'webp', 'bmp', 'gif', 'tif', 'tiff'])
def test_an_image_is_pillows_own_resize_of_the_file(tmp_path, ending, size):
    path = saved(Image.fromarray(photo()), tmp_path / f'a.{ending}')
    with Image.open(path) as image:
        expected = image.convert('RGB').resize((size, size), Image.Resampling.BILINEAR)
    result = image_files.read(path, size)
    np.testing.assert_array_equal(result, np.asarray(expected))
    assert result.dtype == np.uint8


@pytest.mark.parametrize('form', NO_LOSS)
def test_a_file_of_the_size_requested_keeps_its_pixels(tmp_path, form):
    ending = image_files.SUFFIXES[form][0]
    path = saved(Image.fromarray(COLOURS), tmp_path / f'a{ending}', **NO_LOSS[form])
    np.testing.assert_array_equal(image_files.read(path, 2), COLOURS)


def test_every_ending_of_the_formats_counts_whatever_its_case():
    assert image_files.is_image('a.png')
    assert image_files.is_image('A.JPG')
    assert image_files.is_image('a.jfif')
    assert not image_files.is_image('a.svg')
    assert not image_files.is_image('png')


def test_the_bytes_say_the_format_not_the_name(tmp_path):
    path = saved(Image.fromarray(COLOURS), tmp_path / 'a.jpg', format='PNG')
    np.testing.assert_array_equal(image_files.read(path, 2), COLOURS)


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = photo(4, 4, channels=1)
    result = image_files.read(saved(Image.fromarray(grey), tmp_path / 'a.png'), 4)
    np.testing.assert_array_equal(result, np.stack([grey] * 3, axis=-1))


def test_black_and_white_become_0_and_255(tmp_path):
    bits = np.array([[True, False], [False, True]])
    result = image_files.read(saved(Image.fromarray(bits), tmp_path / 'a.png'), 2)
    np.testing.assert_array_equal(result[..., 1], np.where(bits, 255, 0))


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_16_bit_grey_is_scaled_and_not_cut_off(tmp_path, form):
    deep = np.array([[0, 257, 65535], [128, 129, 32896], [256, 3 * 257, 65000]], np.uint16)
    path = saved(Image.fromarray(deep), tmp_path / 'a.png', format=form)
    expected = np.array([[0, 1, 255], [0, 1, 128], [1, 3, 253]])  # the nearest of deep / 257
    np.testing.assert_array_equal(image_files.read(path, 3), np.stack([expected] * 3, axis=-1))


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(np.array([[2, 0], [1, 2]], np.uint8))
    image = image.convert('P')
    image.putdata([2, 0, 1, 2])
    image.putpalette([*RED, *GREEN, *BLUE])
    result = image_files.read(saved(image, tmp_path / 'a.png'), 2)
    np.testing.assert_array_equal(result, [[BLUE, RED], [GREEN, BLUE]])


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    image = Image.new('P', (2, 1))
    image.putpalette([*RED, *BLACK])
    image.putdata([0, 1])
    result = image_files.read(saved(image, tmp_path / 'a.png', transparency=1), 2)
    np.testing.assert_array_equal(result[0], [RED, WHITE])


def test_what_is_transparent_lies_over_white(tmp_path):
    pixels = np.array([[[*RED, 255], [*RED, 0], [*BLACK, 51], [*BLUE, 102]]], np.uint8)
    result = image_files.read(saved(Image.fromarray(pixels), tmp_path / 'a.png'), 4)
    # A fifth of black over white is 204, two fifths of blue leave 153 of the rest.
    np.testing.assert_array_equal(result[0], [RED, WHITE, (204, 204, 204), (153, 153, 255)])


def test_grey_with_opacity_lies_over_white_too(tmp_path):
    pixels = np.array([[[0, 255], [0, 0]]], np.uint8)
    result = image_files.read(saved(Image.fromarray(pixels), tmp_path / 'a.png'), 2)
    np.testing.assert_array_equal(result[0], [BLACK, WHITE])


def test_cmyk_becomes_rgb(tmp_path):
    ink = np.array([[[0, 0, 0, 0], [0, 255, 255, 0]], [[255, 255, 0, 0], [0, 0, 0, 255]]], np.uint8)
    path = saved(Image.frombytes('CMYK', (2, 2), ink.tobytes()), tmp_path / 'a.tif')
    np.testing.assert_array_equal(image_files.read(path, 2), [[WHITE, RED], [BLUE, BLACK]])


# EXIF's orientations: where the first row and the first column of the stored pixels are meant.
TURNED = {
    1: COLOURS,
    2: COLOURS[:, ::-1],
    3: COLOURS[::-1, ::-1],
    4: COLOURS[::-1],
    5: COLOURS.transpose(1, 0, 2),
    6: np.rot90(COLOURS, -1),
    7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(COLOURS),
}


@pytest.mark.parametrize('orientation', TURNED)
def test_an_image_is_turned_as_its_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(COLOURS), tmp_path / 'a.png', exif=exif)
    np.testing.assert_array_equal(image_files.read(path, 2), TURNED[orientation])


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    frames = [Image.new('RGB', (2, 2), colour) for colour in (RED, BLUE)]
    path = saved(frames[0], tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(image_files.read(path, 2)[0, 0], RED)


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def claiming(width, height):
    """The beginning of a PNG of a size, with next to no pixels behind it."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


@pytest.mark.parametrize(
    ('width', 'height', 'words'),
    # Pillow's own limits are at 89 and 179 million pixels; ours is below both.
    [(60000, 60000, 'more than'), (10000, 10000, '10,000 x 10,000, more than')],
)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_an_image_of_absurd_size_is_refused_by_its_header(tmp_path, width, height, words):
    path = tmp_path / 'a.png'
    path.write_bytes(claiming(width, height))
    with pytest.raises(UserError) as caught:
        image_files.read(path, 8)
    message = str(caught.value)
    assert message == (
        f'{path} claims {words} the 50,000,000 pixels allowed: make it smaller or remove it.'
    )


@pytest.mark.parametrize(('allowed', 'scale'), [(200_000, 1), (100_000, 2), (12_000, 4), (4000, 8)])
def test_a_jpeg_above_the_limit_is_decoded_at_a_fraction_of_its_size(
    tmp_path, monkeypatch, allowed, scale
):
    path = saved(Image.fromarray(photo(400, 480)), tmp_path / 'a.jpg')
    with Image.open(path) as image:
        image.draft(None, (480 // scale, 400 // scale))
        assert image.size == (480 // scale, 400 // scale)
        expected = image.resize((20, 20), Image.Resampling.BILINEAR)
    monkeypatch.setattr(image_files, 'LARGEST', allowed)
    np.testing.assert_array_equal(image_files.read(path, 20), np.asarray(expected))


def test_a_jpeg_decoded_at_a_fraction_is_nearly_the_whole_one(tmp_path, monkeypatch):
    smooth = np.add.outer(np.arange(200), np.arange(240)) // 2
    path = saved(Image.fromarray(smooth.astype(np.uint8)), tmp_path / 'a.jpg')
    whole = image_files.read(path, 16)
    monkeypatch.setattr(image_files, 'LARGEST', 800)
    np.testing.assert_allclose(image_files.read(path, 16), whole.astype(int), atol=2)


@pytest.mark.parametrize('ending', ['jpg', 'png'])
def test_an_image_above_every_limit_is_refused(tmp_path, monkeypatch, ending):
    path = saved(Image.fromarray(photo(400, 480)), tmp_path / f'a.{ending}')
    monkeypatch.setattr(image_files, 'LARGEST', 2000)
    with pytest.raises(UserError, match='more than the 2,000 pixels allowed'):
        image_files.read(path, 20)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes with a name here')
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'a.png')
    with pytest.raises(UserError, match='it is not a regular file'):
        image_files.read(tmp_path / 'a.png', 8)


def jpeg():
    buffer = io.BytesIO()
    Image.fromarray(photo()).save(buffer, 'JPEG')
    return buffer.getvalue()


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'no image at all\n',
        jpeg()[: len(jpeg()) // 2],
        jpeg()[:30],
        claiming(8, 8),
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
    ],
    ids=['empty', 'text', 'half a JPEG', 'a header', 'no pixels', 'a program'],
)
def test_a_damaged_image_is_named_in_one_sentence(tmp_path, content):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        image_files.read(path, 8)
    message = str(caught.value)
    assert message.startswith(f'{path} cannot be read as an image (')
    assert message.endswith('repair or remove it.')
    assert '\n' not in message


def test_a_missing_file_is_not_one_to_repair(tmp_path):
    with pytest.raises(UserError) as caught:
        image_files.read(tmp_path / 'a.png', 8)
    assert str(caught.value) == f'There is no file {tmp_path / "a.png"}: check its name and folder.'


def test_pixels_whose_white_is_unknown_are_refused(tmp_path):
    path = saved(Image.fromarray(np.ones((2, 2), np.float32)), tmp_path / 'a.tif')
    with pytest.raises(UserError, match='32-bit numbers'):
        image_files.read(path, 8)


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_an_array_is_as_the_file_with_its_pixels(tmp_path, channels):
    array = photo(9, 7, channels=channels).reshape(9, 7, channels)
    image = Image.fromarray(array[..., 0] if channels == 1 else array)
    path = saved(image, tmp_path / 'a.png')
    np.testing.assert_array_equal(image_files.from_array(array, (5, 5)), image_files.read(path, 5))


def test_an_image_that_may_not_be_read_is_named_once(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.touch()

    def refuse(path, formats):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(Image, 'open', refuse)
    with pytest.raises(UserError) as caught:
        image_files.read(path, 8)
    message = f'{path} cannot be read as an image (Permission denied): repair or remove it.'
    assert str(caught.value) == message


# Crops


def by_torchvision(image, size, resample):
    """The arithmetic of torchvision's Resize(256 for 224) and CenterCrop, on the whole image."""
    width, height = image.size
    short = size * 8 // 7
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    resized = image.resize((width, height), resample)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize('shape', [(500, 333), (333, 500), (227, 227), (90, 61), (1201, 75)])
@pytest.mark.parametrize('size', [224, 56])
@pytest.mark.parametrize(
    ('resize', 'resample'),
    [('crop', Image.Resampling.BILINEAR), ('crop_bicubic', Image.Resampling.BICUBIC)],
)
def test_a_crop_is_that_of_torchvision(tmp_path, shape, size, resize, resample):
    coarse = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    image = Image.fromarray(coarse).resize(shape)
    ours = image_files.read(saved(image, tmp_path / 'a.png'), size, resize)
    theirs = by_torchvision(image, size, resample)
    # Pillow has the corners of a box in float32, and rounds the rows, and then the columns.
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.02


def test_a_crop_keeps_proportions_whatever_they_are(tmp_path):
    wide = np.zeros((20, 4000, 3), np.uint8)
    wide[:, 1995:2005] = 255
    path = saved(Image.fromarray(wide), tmp_path / 'a.png')
    seen = image_files.read(path, 224, 'crop')
    white = [*range(224 // 2 - 56, 224 // 2 + 56)]  # 10 of the 17.5 columns that are seen
    assert seen[:, white].min() == 255
    assert seen[:, :30].max() == seen[:, -30:].max() == 0


def test_an_array_of_the_size_is_cropped_as_a_file_is(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)
    path = saved(Image.fromarray(array), tmp_path / 'a.png')
    ours = image_files.from_array(array, (14, 14), 'crop')
    np.testing.assert_array_equal(ours, image_files.read(path, 14, 'crop'))
    assert (ours != array).any()
