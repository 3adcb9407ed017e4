"""One image as 8-bit RGB of a size: whatever Pillow reads, made alike."""

from __future__ import annotations

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
    'JPEG': ('.jpeg', '.jpg'),
    'PNG': ('.png',),
    'TIFF': ('.tif', '.tiff'),
    'WEBP': ('.webp',),
}
LARGEST = 50_000_000  # pixels: far above a photograph, far below what fills the memory


def is_image(name: str) -> bool:
    """Tells from a file's name whether it is to be read."""
    return name.lower().endswith(tuple(end for ends in SUFFIXES.values() for end in ends))


def read(path: Path, size: int) -> UInt8[np.ndarray, 'size size 3']:
    """Reads a file as a camera or a painter meant it: turned by its EXIF, then as `pixels`.

    The format is what the bytes say, whatever the name; of several pictures the first is taken.

    Raises:
      UserError: the file is damaged or in no format of `SUFFIXES`, or has more pixels than
        `LARGEST`, which its header says before any are decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        # Not those formats that start other programs, such as EPS.
        with Image.open(path, formats=list(SUFFIXES)) as image:
            if image.width * image.height > LARGEST:
                raise Image.DecompressionBombError(f'{image.width:,} x {image.height:,} pixels')
            ImageOps.exif_transpose(image, in_place=True)
            return pixels(image, (size, size))
    except Image.DecompressionBombError as error:
        raise UserError(
            f'{path} claims {first_line(error)}, more than the {LARGEST:,} pixels allowed: make it '
            'smaller or remove it.'
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged image raises anything
        unknown = isinstance(error, UnidentifiedImageError)
        problem = f'it is none of {", ".join(SUFFIXES)}' if unknown else first_line(error)
        raise UserError(
            f'{path} cannot be read as an image ({problem}): mend or remove it.'
        ) from error


def pixels(image: Image.Image, size: tuple[int, int]) -> UInt8[np.ndarray, 'h w 3']:
    """Returns an image as 8-bit RGB, resized to [h w] without regard to its proportions.

    Grey becomes three equal channels, 16-bit grey is divided by 257, and what is transparent lies
    over white, as on a page. Then it is resized: bilinear, with antialiasing where it shrinks.

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
    return np.asarray(image.convert('RGB').resize((width, height), Image.Resampling.BILINEAR))


def from_array(
    array: UInt8[np.ndarray, 'rows columns channels'], size: tuple[int, int]
) -> UInt8[np.ndarray, 'h w 3']:
    """Returns `pixels` of an array with 1 (grey), 3 or 4 (the last: opacity) channels."""
    from PIL import Image

    if array.shape == (*size, 3):
        return array
    return pixels(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array), size)
