"""The cache of decoded folders: what it belongs to, and what happens when it is damaged."""

import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from cifar_jax.data import decoded_folders, folders, image_files, sources
from cifar_jax.data.arrays import digest
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults


@pytest.fixture(autouse=True)
def cache_everything(monkeypatch):
    monkeypatch.setattr(decoded_folders, 'LEAST', 0)


@pytest.fixture
def pictures(tmp_path):
    """A folder of five images for each of two classes, in random colours."""
    rng = np.random.default_rng(0)
    for name in ('cat', 'dog'):
        for number in range(5):
            write(tmp_path / 'pictures' / name / f'{number}.png', rng)
    return tmp_path / 'pictures'


def write(path, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(path)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded, in any order."""
    names, read = [], image_files.read

    def note(path, *options):
        names.append(path.name)
        return read(path, *options)

    monkeypatch.setattr(image_files, 'read', note)
    return names


def config(pictures, **changes):
    data = get_defaults().data
    data.update(source=f'folder:{pictures}', dir=str(pictures.parent / 'data'), image_size=8)
    data.update(changes)
    return data


def load(pictures, **changes):
    data = sources.load(config(pictures, **changes))
    return digest(data.train), digest(data.test)


def caches(pictures):
    return sorted((pictures.parent / 'data' / decoded_folders.FOLDERS).iterdir())


def test_a_folder_is_decoded_once(pictures, decoded):
    first = load(pictures)
    assert len(decoded) == 10
    assert load(pictures) == first
    assert len(decoded) == 10
    assert isinstance(sources.load(config(pictures)).train.images, np.memmap)


def test_a_folder_with_parts_is_decoded_once(pictures, decoded):
    parts = pictures.parent / 'parts'
    for part in ('train', 'test'):
        shutil.copytree(pictures, parts / part)
    assert load(parts) == load(parts)
    assert len(decoded) == 20


def test_evaluation_of_other_data_shares_the_cache_of_a_part(pictures, decoded):
    parts = pictures.parent / 'parts'
    for part in ('train', 'test'):
        shutil.copytree(pictures, parts / part)
    test = load(parts)[1]
    assert digest(folders.load_part(parts, config(parts), 'test')[2]) == test
    assert len(decoded) == 20


def touch(pictures):
    os.utime(pictures / 'cat' / '0.png', ns=(0, 1))


def replace(pictures):
    write(pictures / 'cat' / '0.png', np.random.default_rng(1))


def rename(pictures):
    (pictures / 'cat' / '0.png').rename(pictures / 'cat' / '00.png')


def add(pictures):
    write(pictures / 'cat' / '9.png', np.random.default_rng(1))


def remove(pictures):
    write(pictures / 'cat' / '6.png', np.random.default_rng(1))
    (pictures / 'cat' / '0.png').unlink()


@pytest.mark.parametrize('change', [touch, replace, rename, add, remove])
def test_a_folder_that_has_changed_is_decoded_again(pictures, decoded, change, caplog):
    caplog.set_level(logging.INFO)
    load(pictures)
    change(pictures)
    decoded.clear()
    now = load(pictures)
    assert decoded
    assert 'has changed since its images were decoded: they are decoded again.' in caplog.text
    fresh = load(pictures, dir=str(pictures.parent / 'elsewhere'))
    assert now == fresh
    assert len(caches(pictures)) == 2  # those of the older images are gone


def test_a_file_of_the_same_size_and_time_with_other_content_is_noticed(pictures):
    path = pictures / 'cat' / '0.png'
    before, stat = load(pictures), path.stat()
    content = bytearray(path.read_bytes())
    image = Image.open(path).rotate(180)
    for level in range(10):
        image.save(path, compress_level=level)
        if path.stat().st_size <= len(content):
            break
    with path.open('ab') as file:
        file.write(bytes(len(content) - path.stat().st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert load(pictures) != before


@pytest.mark.parametrize('changes', [{'image_size': 9}, {'resize': 'crop'}])
def test_each_size_and_way_to_resize_has_a_cache_of_its_own(pictures, decoded, changes):
    first = load(pictures)
    other = load(pictures, **changes)
    assert len(decoded) == 20
    assert (load(pictures), load(pictures, **changes)) == (first, other)
    assert len(decoded) == 20


def test_another_version_of_a_decoder_decodes_again(pictures, decoded, monkeypatch):
    load(pictures)
    monkeypatch.setattr(image_files, 'decoders', lambda: ('Pillow 0',))
    load(pictures)
    assert len(decoded) == 20


@pytest.mark.parametrize(
    'damage',
    [
        lambda folder: (folder / 'images.npy').write_bytes(b'x'),
        lambda folder: (folder / 'index.json').write_text('{}'),
        lambda folder: (folder / 'damaged.npy').unlink(),
        lambda folder: flip(folder / 'images.npy'),
    ],
    ids=['images', 'index', 'missing', 'bit'],
)
def test_a_damaged_cache_is_named_and_created_again(pictures, decoded, damage, caplog):
    before = load(pictures)
    for folder in caches(pictures):
        damage(folder)
    assert load(pictures) == before
    assert len(decoded) == 20
    assert caplog.text.count('is damaged and created again') == 2
    assert load(pictures) == before
    assert len(decoded) == 20


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_damaged_images_are_named_at_every_start_and_the_rest_is_not_decoded_again(
    pictures, decoded, caplog
):
    (pictures / 'cat' / '1.png').write_bytes(b'x')
    first = load(pictures, damaged='skip')
    decoded.clear()
    caplog.clear()
    assert load(pictures, damaged='skip') == first
    assert decoded == ['1.png']
    assert '1.png cannot be read as an image' in caplog.text
    assert '1 of ' in caplog.text
    with pytest.raises(UserError, match=r'1\.png cannot be read'):
        load(pictures)


def test_images_that_change_while_they_are_read_are_not_cached(pictures, monkeypatch):
    read = image_files.read

    def meddle(path, *options):
        image = read(path, *options)
        os.utime(path)
        return image

    monkeypatch.setattr(image_files, 'read', meddle)
    load(pictures)
    assert not (pictures.parent / 'data').exists()


def test_a_few_small_files_are_not_cached(pictures, monkeypatch):
    monkeypatch.setattr(decoded_folders, 'LEAST', 10**6)
    load(pictures)
    assert not (pictures.parent / 'data').exists()


def test_without_a_place_for_the_cache_the_run_goes_on_with_a_warning(pictures, caplog):
    (pictures.parent / 'data').write_text('a file')
    assert load(pictures) == load(pictures, dir=str(pictures.parent / 'elsewhere'))
    assert 'The decoded images are not cached: ' in caplog.text
