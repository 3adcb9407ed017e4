"""One image as 8-bit RGB of a given size, from a file in any common format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from cifar_jax.errors import UserError, first_line

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {
    'BMP': ('.bmp',),
    'GIF': ('.gif',),
    'JPEG': ('.jfif', '.jpeg', '.jpg'),
    'PNG': ('.png',),
    'TIFF': ('.tif', '.tiff'),
    'WEBP': ('.webp',),
}
LARGEST = 50_000_000  # pixels that are decoded: they take 150 MB
RESIZES = ('stretch', 'crop', 'crop_bicubic')
CROPPED = 0.875  # share of the shorter side that 'crop' keeps: 224 of 256 pixels


def decoders() -> tuple[str, ...]:
    """Returns the versions of the libraries that decode and resize image files."""
    import PIL
    from PIL import features

    codecs = [f'{name} {features.version(name)}' for name in ('jpg', 'libjpeg_turbo', 'webp')]
    return (f'Pillow {PIL.__version__}', *codecs, f'libtiff {features.version("libtiff")}')


def is_image(name: str) -> bool:
    """Returns whether a file's name has the suffix of an image."""
    return name.lower().endswith(tuple(end for ends in SUFFIXES.values() for end in ends))


def read(path: Path, size: int, resize: str = 'stretch') -> UInt8[np.ndarray, 'size size 3']:
    """Reads an image file, turns it as its EXIF data say, and resizes it by `pixels`.

    The format is that of the content, whatever the name; of several pictures the first is taken. A
    JPEG of more than `LARGEST` pixels is decoded at a half, a quarter or an eighth of its size.

    Raises:
      UserError: the file is missing, is damaged, is not a regular file, is in no format of
        `SUFFIXES`, or has more pixels than `LARGEST`, which its header tells before it is decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not os.path.lexists(path):
        raise UserError(f'There is no file {path}: check its name and folder.')
    try:
        # To open a pipe would wait for somebody to write to it.
        if path.exists() and not path.is_file():
            raise OSError('it is not a regular file')
        # Other formats may start programs, as EPS does.
        with Image.open(path, formats=list(SUFFIXES)) as image:
            scale = next((n for n in (1, 2, 4) if image.width * image.height <= n**2 * LARGEST), 8)
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            if image.width * image.height > LARGEST:
                raise _too_large(path, f'{image.width:,} x {image.height:,}, ')
            ImageOps.exif_transpose(image, in_place=True)
            return pixels(image, (size, size), resize)
    except Image.DecompressionBombError as error:  # far too large, as the header says
        raise _too_large(path) from error
    except (MemoryError, UserError):
        raise
    except Exception as error:  # a damaged image raises anything
        problem = (isinstance(error, OSError) and error.strerror) or first_line(error)
        if isinstance(error, UnidentifiedImageError):
            problem = f'it is none of {", ".join(SUFFIXES)}'
        raise UserError(
            f'{path} cannot be read as an image ({problem}): repair or remove it.'
        ) from error


def _too_large(path: Path, size: str = '') -> UserError:
    return UserError(
        f'{path} claims {size}more than the {LARGEST:,} pixels allowed: make it smaller or remove '
        'it.'
    )


def pixels(
    image: Image.Image, size: tuple[int, int], resize: str = 'stretch'
) -> UInt8[np.ndarray, 'h w 3']:
    """Returns an image as 8-bit RGB of [h w].

    Grey becomes three equal channels, 16-bit grey is divided by 257, and what is transparent lies
    over white, as on a page. Then it is resized, with antialiasing where it shrinks.

    Args:
      resize: 'stretch' (bilinear, without regard to its proportions), or 'crop' or 'crop_bicubic',
        which need h = w: see `_cropped`.

    Raises:
      ValueError: pixels are 32-bit numbers, whose white is unknown.
    """
    from PIL import Image

    if image.mode.startswith('I;16'):
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ('I', 'F'):
        raise ValueError('its pixels are 32-bit numbers')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    height, width = size
    rgb = image.convert('RGB')
    if resize == 'stretch':
        return np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))
    resample = Image.Resampling.BICUBIC if resize == 'crop_bicubic' else Image.Resampling.BILINEAR
    return np.asarray(_cropped(rgb, height, resample))


def _cropped(image: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    """Returns the middle of an image whose shorter side becomes size / `CROPPED`, 256 for 224.

    As torchvision's `Resize` and `CenterCrop`, with their rounding; only the pixels of the middle
    are computed, whatever the proportions.
    """
    shorter = int(size / CROPPED)
    width, height = (int(shorter * side / min(image.size)) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    # Pixels of the image per pixel of the resized one.
    right, down = image.width / width, image.height / height
    box = (left * right, top * down, (left + size) * right, (top + size) * down)
    return image.resize((size, size), resample, box)


def from_array(
    array: UInt8[np.ndarray, 'rows columns channels'],
    size: tuple[int, int],
    resize: str = 'stretch',
) -> UInt8[np.ndarray, 'h w 3']:
    """Returns `pixels` of an array with 1 (grey), 3 or 4 (the last: opacity) channels."""
    from PIL import Image

    if array.shape == (*size, 3) and resize == 'stretch':
        return array
    grey = array.shape[-1] == 1
    return pixels(Image.fromarray(array[..., 0] if grey else array), size, resize)
