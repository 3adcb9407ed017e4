"""Folders of images: their order, their parts, and each bad one in a sentence."""

import logging
import os
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from test_image_files import claiming

from cifar_jax.data import progress, sources, splits
from cifar_jax.errors import UserError
from cifar_jax.experiment.defaults import get_defaults
from cifar_jax.experiment.run import train
from cifar_jax.inference.evaluation import evaluate


def config(path, **changes):
    data = get_defaults().data
    data.update(source=f'folder:{path}', **changes)
    return data


def write(path, number=0):
    """Writes an image of one grey, by which it is known again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('L', (5, 4), number).save(path)


def classes_of(folder, count=5, names=('cat', 'dog')):
    """Writes `count` images for each class; their greys are 0, 1, 2... over all."""
    for place, name in enumerate(names):
        for i in range(count):
            write(folder / name / f'{i:02}.png', place * count + i)
    return folder


def greys(part):
    return part.images[:, 0, 0, 0].tolist()


def refusal(path, **changes):
    with pytest.raises(UserError) as caught:
        sources.load(config(path, **changes))
    message = str(caught.value)
    assert str(path) in message
    assert '\n' not in message
    return message


# What is read


def test_images_stand_in_the_order_of_their_classes_and_names(tmp_path):
    for part in ('train', 'test'):
        classes_of(tmp_path / part, count=3, names=('B', 'a', 'ä'))
    data = sources.load(config(tmp_path))
    assert data.classes == ('B', 'a', 'ä')
    assert data.name == tmp_path.name
    for arrays in (data.train, data.test):
        assert greys(arrays) == [*range(9)]
        assert arrays.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert (arrays.images.dtype, arrays.labels.dtype) == (np.uint8, np.int32)


def test_images_are_32x32_where_no_size_is_given(tmp_path):
    classes_of(tmp_path)
    assert sources.load(config(tmp_path)).train.images.shape == (8, 32, 32, 3)
    assert sources.load(config(tmp_path, image_size=9)).train.images.shape == (8, 9, 9, 3)


def test_a_fixed_stratified_fifth_is_the_test_set(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    classes_of(tmp_path, count=20, names=('a', 'b', 'c'))
    data, again = (sources.load(config(tmp_path, split_seed=seed)) for seed in (0, 1))
    assert splits.class_counts(data.test.labels, 3).tolist() == [4, 4, 4]
    assert sorted(greys(data.train) + greys(data.test)) == [*range(60)]
    assert [grey // 20 for grey in greys(data.test)] == data.test.labels.tolist()
    assert greys(data.test) == greys(again.test)
    assert 'a fixed fifth is the test set' in caplog.text


@pytest.mark.parametrize(
    ('there', 'taken'),
    [(['validation', 'val', 'test'], 'test'), (['val', 'validation'], 'validation')],
)
def test_test_goes_before_validation_and_val_which_is_said(tmp_path, caplog, there, taken):
    classes_of(tmp_path / 'train')
    for count, name in enumerate(there, 1):
        classes_of(tmp_path / name, count=count)
    data = sources.load(config(tmp_path))
    assert len(data.test.labels) == 2 * (there.index(taken) + 1)
    for name in {*there} - {taken}:
        assert f'{tmp_path / name} is not read: train and {taken} are.' in caplog.text


def test_a_class_may_be_called_train(tmp_path):
    data = sources.load(config(classes_of(tmp_path, names=('car', 'train'))))
    assert data.classes == ('car', 'train')


def test_images_may_lie_deeper(tmp_path):
    classes_of(tmp_path)
    write(tmp_path / 'cat' / 'more' / 'deep' / '1.png', 200)
    data = sources.load(config(tmp_path))
    assert 200 in greys(data.train) + greys(data.test)


def test_hidden_files_and_what_is_no_image_are_passed_over_and_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    classes_of(tmp_path)
    write(tmp_path / 'cat' / '._00.png')
    write(tmp_path / '.git' / '00.png')
    write(tmp_path / 'cat' / '.thumbnails' / '00.png')
    (tmp_path / 'cat' / 'Thumbs.db').write_bytes(b'x')
    (tmp_path / 'readme.txt').write_text('about')
    data = sources.load(config(tmp_path))
    assert data.classes == ('cat', 'dog')
    assert len(data.train.labels) + len(data.test.labels) == 10
    assert '2 hidden files and files that are no images are passed over' in caplog.text


def test_the_order_of_writing_and_the_number_of_threads_change_nothing(tmp_path, monkeypatch):
    classes_of(tmp_path / 'a', count=12)
    for name in ('dog', 'cat'):
        for path in sorted((tmp_path / 'a' / name).iterdir(), reverse=True):
            copy = tmp_path / 'b' / name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    one = sources.load(config(tmp_path / 'a'))
    monkeypatch.setattr(os, 'cpu_count', lambda: 1)
    two = sources.load(config(tmp_path / 'b'))
    for first, second in zip(one.train + one.test, two.train + two.test, strict=True):
        np.testing.assert_array_equal(first, second)


# What is refused


def test_no_folder(tmp_path):
    assert "write --config.data.source='folder:PATH'" in refusal(tmp_path / 'nowhere')


def test_a_file_is_no_folder(tmp_path):
    write(tmp_path / 'a.png')
    assert 'There is no folder' in refusal(tmp_path / 'a.png')


@pytest.mark.parametrize('image', [False, True])
def test_no_class_folders(tmp_path, image):
    if image:
        write(tmp_path / 'a.png')
    message = refusal(tmp_path)
    assert 'holds no class folders' in message
    assert 'a folder of images for each of two classes' in message


def test_one_class_only(tmp_path):
    assert "holds the class folder 'cat' alone" in refusal(classes_of(tmp_path, names=('cat',)))


@pytest.mark.parametrize('part', ['', 'train', 'test'])
def test_a_class_without_an_image(tmp_path, part):
    for name in ('train', 'test') if part else ('',):
        classes_of(tmp_path / name)
    (tmp_path / part / 'eel').mkdir()
    (tmp_path / part / 'eel' / 'notes.txt').write_text('none yet')
    message = refusal(tmp_path)
    assert "The class 'eel'" in message
    assert 'has no image (BMP, GIF, JPEG, PNG, TIFF, WEBP)' in message


def test_a_class_of_too_few_images_to_draw_a_test_set_from(tmp_path):
    classes_of(tmp_path)
    (tmp_path / 'dog' / '00.png').unlink()
    message = refusal(tmp_path)
    assert "The class 'dog'" in message
    assert 'has 4 images, too few' in message
    assert 'train and test' in message


@pytest.mark.parametrize('counts', [(5, 5), (5, 7), (5, 5, 47), (5, 6, 8, 11), (5, 500)])
def test_five_images_of_a_class_are_enough(tmp_path, counts):
    for place, count in enumerate(counts):
        classes_of(tmp_path, count=count, names=(str(place),))
    data = sources.load(config(tmp_path, image_size=1))
    for part in (data.train, data.test):
        assert splits.class_counts(part.labels, len(counts)).min() >= 1


def test_train_and_test_with_different_classes(tmp_path):
    classes_of(tmp_path / 'train', names=('cat', 'dog', 'eel'))
    classes_of(tmp_path / 'test', names=('cat', 'dog', 'fox'))
    message = refusal(tmp_path)
    assert "train and test have different classes ('eel' is in one of them only" in message
    assert '2 in all' in message


@pytest.mark.parametrize('what', ['image', 'class', 'part'])
def test_a_symbolic_link_is_not_followed(tmp_path, what):
    inside, outside = tmp_path / 'inside', classes_of(tmp_path / 'outside')
    for part in ('train', 'test'):
        classes_of(inside / part)
    link = {
        'image': inside / 'train' / 'cat' / 'link.png',
        'class': inside / 'train' / 'eel',
        'part': inside / 'val',
    }[what]
    target = {'image': outside / 'cat' / '00.png', 'class': outside / 'cat', 'part': outside}[what]
    link.symlink_to(target)
    message = refusal(inside)
    assert f'{link} is a symbolic link' in message
    assert 'cp -rL' in message


def test_the_folder_itself_may_be_a_link(tmp_path):
    classes_of(tmp_path / 'real')
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    assert len(sources.load(config(tmp_path / 'link')).train.labels) == 8


def test_a_set_too_large_for_the_memory_is_refused_before_an_image_is_read(tmp_path):
    classes_of(tmp_path)
    (tmp_path / 'cat' / '00.png').write_bytes(b'damaged')
    with pytest.raises(UserError, match=r'take 0\.112 GB decoded.*--config\.data\.memory_gb'):
        sources.load(config(tmp_path, image_size=2000, memory_gb=0.1))


# Damaged images


@pytest.mark.parametrize('content', [b'', b'text', claiming(60000, 60000)])
def test_a_damaged_image_stops_the_run_and_is_named(tmp_path, content):
    path = classes_of(tmp_path) / 'dog' / '02.png'
    path.write_bytes(content)
    message = refusal(tmp_path)
    assert message.startswith(f'{path} ')
    assert message.endswith(' it, or pass over such files with --config.data.damaged=skip.')


def test_or_it_is_skipped_named_and_counted(tmp_path, caplog):
    for part in ('train', 'test'):
        classes_of(tmp_path / part)
    damaged = [tmp_path / 'train' / 'cat' / '01.png', tmp_path / 'train' / 'dog' / '00.png']
    damaged[0].write_bytes(b'')
    damaged[1].write_bytes(claiming(60000, 60000))
    data = sources.load(config(tmp_path, damaged='skip'))
    assert greys(data.train) == [0, 2, 3, 4, 6, 7, 8, 9]
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert len(data.test.labels) == 10
    for path in damaged:
        assert f'Skipped: {path}' in caplog.text
    assert '2 of 10 images are skipped' in caplog.text


def test_a_class_of_which_nothing_is_left_is_named(tmp_path):
    for part in ('train', 'test'):
        classes_of(tmp_path / part, count=2)
    for path in (tmp_path / 'test' / 'dog').iterdir():
        path.write_bytes(b'')
    assert "No test image of the class 'dog'" in refusal(tmp_path, damaged='skip')


# Progress


def test_without_a_terminal_a_line_now_and_then_tells_the_time_left(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    seconds = iter(range(0, 100, 4))
    monkeypatch.setattr(time, 'perf_counter', lambda: next(seconds))
    assert [*progress.shown('abcdef', 6, 'reading images')] == [*'abcdef']
    assert caplog.messages == [
        'reading images: 3/6  12 s left',
        'reading images: 6/6  0 s left',
    ]


def test_on_a_terminal_a_bar_tells_how_many_are_done(capsys, monkeypatch):
    monkeypatch.setenv('TTY_COMPATIBLE', '1')
    assert [*progress.shown('abcdef', 6, 'reading images')] == [*'abcdef']
    out, shown = capsys.readouterr()
    assert out == ''
    assert 'reading images' in shown
    assert '6/6' in shown


# A whole run


def test_a_folder_of_digits_trains_and_evaluates(tmp_path):
    bunch = load_digits()
    for row in range(100):
        path = tmp_path / 'digits' / str(bunch.target[row]) / f'{row}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(bunch.images[row] * (255 / 16)).astype(np.uint8)).save(path)
    whole = get_defaults()
    whole.data = config(tmp_path / 'digits', image_size=16)
    whole.model.name = 'SmallVGG'
    whole.model.widths = (4, 8)
    whole.train.batch_size = 16
    whole.train.length = '3 steps'
    whole.log.tensorboard = False
    assert train(whole, tmp_path / 'run')['finished']
    result = evaluate(tmp_path / 'run', 'test')
    assert result['images'] == 20
    assert 0 <= result['accuracy'] <= 1
