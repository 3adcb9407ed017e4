"""Where pretrained weights are read from: published ones, a file, or the Hugging Face Hub."""

import pathlib

import numpy as np

from cifar_jax.errors import UserError, first_line
from cifar_jax.models.image_model import ImageModel
from cifar_jax.models.pretrained import catalogue, formats, names

IMAGENET = 'imagenet'
_HUB = 'hf:'
_HUB_FILE = 'model.safetensors'


def is_pretrained(source: str) -> bool:
    """Returns whether a text names weights that this module reads.

    >>> is_pretrained('imagenet'), is_pretrained('hf:owner/name'), is_pretrained('runs/senet')
    (True, True, False)
    """
    return source == IMAGENET or source.startswith(_HUB) or source.endswith(formats.SUFFIXES)


def read(source: str, model: ImageModel) -> tuple[pathlib.Path, dict[str, np.ndarray]]:
    """Returns a file of weights, and its arrays by our names and in our layouts.

    Args:
      source: 'imagenet' for the published weights of the model; 'hf:OWNER/NAME' for the file
        model.safetensors, or 'hf:OWNER/NAME/FILE' for another, of the Hugging Face Hub; or a path.
      model: names are translated for it; nothing is compared with it yet.

    Raises:
      UserError: there are no such weights, or they are damaged.
    """
    if source == IMAGENET:
        path = catalogue.find(type(model).__name__)
    elif source.startswith(_HUB):
        path = _download(source)
    else:
        path = pathlib.Path(source).expanduser()
    return path, names.translate(model, formats.read(path))


def _download(source: str) -> pathlib.Path:
    """Returns the local copy of a file of the Hub, which keeps it for the next time."""
    owner, _, rest = source.removeprefix(_HUB).partition('/')
    name, _, file = rest.partition('/')
    if not (owner and name):
        raise UserError(f"'{source}' must be hf:OWNER/NAME, or hf:OWNER/NAME/FILE.")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(
            f"'{source}' needs an extra that is not installed: pip install 'cifar_jax[hub]'."
        ) from None
    try:
        return pathlib.Path(hf_hub_download(f'{owner}/{name}', file or _HUB_FILE))
    except Exception as error:  # of requests, of the Hub, of the file system
        raise UserError(
            f"'{source}' cannot be downloaded ({first_line(error)}): check the name and the "
            'network, or name a file.'
        ) from None
