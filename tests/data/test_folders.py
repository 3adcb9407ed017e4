"""Folders of images: their order, their parts, and errors."""

import logging
import time
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from test_image_files import claiming

from cifar_jax.data import decoded_folders, pipeline, progress, sources, splits
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


def test_images_are_cropped_where_the_config_says_so(tmp_path):
    classes_of(tmp_path)
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / 'cat' / '00.png')
    cropped = sources.load(config(tmp_path, image_size=14, resize='crop'))
    assert 200 in (*greys(cropped.train), *greys(cropped.test))
    stretched = sources.load(config(tmp_path, image_size=14))
    assert 200 not in (*greys(stretched.train), *greys(stretched.test))


def test_about_a_fifth_of_each_class_is_the_test_set_whatever_the_split_seed(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    classes_of(tmp_path, count=20, names=('a', 'b', 'c'))
    data, again = (sources.load(config(tmp_path, split_seed=seed)) for seed in (0, 1))
    assert splits.class_counts(data.test.labels, 3).min() >= 1
    assert 6 <= len(data.test.labels) <= 18
    assert sorted(greys(data.train) + greys(data.test)) == [*range(60)]
    assert [grey // 20 for grey in greys(data.test)] == data.test.labels.tolist()
    assert greys(data.test) == greys(again.test)
    assert 'a fixed fifth of the images is the test set' in caplog.text


def parts_of(path, **changes):
    """Returns the greys of the training, the validation and the test images."""
    data = pipeline.prepare(config(path, **changes))
    return [set(greys(part)) for part in (data.train, data.validation, data.test)]


def test_images_that_are_added_move_no_other_to_another_part(tmp_path):
    classes_of(tmp_path, count=20)
    before = parts_of(tmp_path)
    for place, name in enumerate(('cat', 'dog')):
        for i in range(50):
            write(tmp_path / name / f'new {i}.png', 100 + 50 * place + i)
    after = parts_of(tmp_path)
    assert [{grey for grey in part if grey < 40} for part in after] == before
    assert all(any(grey >= 100 for grey in part) for part in after)


def test_a_draw_by_count_is_that_of_runs_before_there_were_draws_by_name(tmp_path):
    classes_of(tmp_path, count=20, names=('a', 'b', 'c'))
    labels = np.repeat([0, 1, 2], 20)
    train, test = train_test_split(np.arange(60), test_size=12, stratify=labels, random_state=0)
    train = np.sort(train)
    train, validation = train_test_split(
        train, test_size=10, stratify=labels[train], random_state=0
    )
    assert parts_of(tmp_path, draw='count') == [{*train}, {*validation}, {*test}]


def test_training_images_that_cannot_be_read_move_no_other(tmp_path):
    for part in ('train', 'test'):
        classes_of(tmp_path / part, count=20)
    before = parts_of(tmp_path)
    (tmp_path / 'train' / 'cat' / '03.png').write_bytes(b'')
    after = parts_of(tmp_path, damaged='skip')
    assert after == [part - {3} for part in before[:2]] + before[2:]


# The folders of the parts


@pytest.mark.parametrize(
    ('train', 'test'),
    [
        ('train', 'test'),
        ('Training', 'Testing'),
        ('Train', 'Test'),
        ('TRAIN', 'val'),
        ('train', 'valid'),
        ('training', 'Validation'),
    ],
)
def test_parts_are_known_by_their_common_names_in_any_case(tmp_path, train, test):
    classes_of(tmp_path / train)
    classes_of(tmp_path / test, count=2)
    data = sources.load(config(tmp_path))
    assert data.classes == ('cat', 'dog')
    assert (len(data.train.labels), len(data.test.labels)) == (10, 4)


@pytest.mark.parametrize('name', ['val', 'Valid', 'validation'])
@pytest.mark.parametrize('method', ['stratified', 'last'])
def test_val_beside_train_and_test_is_the_validation_part(tmp_path, caplog, name, method):
    caplog.set_level(logging.INFO)
    for count, part in enumerate(('train', name, 'test'), 1):
        classes_of(tmp_path / part, count=count)
    data = pipeline.prepare(config(tmp_path, validation=method))
    sizes = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert sizes == [2, 4, 6]
    assert f'{tmp_path / name} is the validation part' in caplog.text


@pytest.mark.parametrize('changes', [{'validation': 'none'}, {'draw': 'count'}])
def test_val_is_not_read_without_validation_or_in_a_draw_by_count(tmp_path, caplog, changes):
    for part in ('train', 'val', 'test'):
        classes_of(tmp_path / part)
    (tmp_path / 'val' / 'cat' / '00.png').write_bytes(b'')
    data = sources.load(config(tmp_path, **changes))
    assert data.validation is None
    assert f'{tmp_path / "val"} is not read: train and test are.' in caplog.text


def test_the_first_classes_and_a_share_are_kept_of_all_parts(tmp_path):
    for part in ('train', 'val', 'test'):
        classes_of(tmp_path / part, count=10, names=('a', 'b', 'c'))
    data = pipeline.prepare(config(tmp_path, classes=2, fraction=0.5))
    for part in (data.train, data.validation, data.test):
        assert splits.class_counts(part.labels, 3).tolist() == [5, 5, 0]


def test_a_class_of_one_image_is_named_where_a_share_is_requested(tmp_path):
    classes_of(tmp_path / 'train', count=4)
    classes_of(tmp_path / 'test', count=4)
    write(tmp_path / 'train' / 'eel' / '0.png')
    write(tmp_path / 'test' / 'eel' / '0.png')
    with pytest.raises(UserError, match=r"'eel' has a single training image.*fraction=1"):
        sources.load(config(tmp_path, fraction=0.5))


@pytest.mark.parametrize('names', [['train'], ['Test', 'valid'], ['test'], ['Training', 'train']])
def test_folders_named_like_parts_are_never_classes(tmp_path, names):
    for name in names:
        classes_of(tmp_path / name)
    message = refusal(tmp_path)
    assert f'holds only {" and ".join(names)}' in message
    assert 'it needs the folders train and test' in message


@pytest.mark.parametrize('names', [('train', 'Train', 'test'), ('train', 'val', 'validation')])
def test_two_folders_for_the_same_part_are_refused(tmp_path, names):
    for name in names:
        classes_of(tmp_path / name)
    assert 'mean the same part of a data set: keep one' in refusal(tmp_path)


def test_other_folders_beside_the_parts_are_not_read_with_a_warning(tmp_path, caplog):
    for name in ('train', 'test', 'more'):
        classes_of(tmp_path / name)
    assert sources.load(config(tmp_path)).classes == ('cat', 'dog')
    assert f'{tmp_path / "more"} is not read: train and test are.' in caplog.text


@pytest.mark.parametrize('names', [('car', 'train'), ('Test', 'car', 'val')])
def test_a_class_may_be_named_like_a_part(tmp_path, names):
    data = sources.load(config(classes_of(tmp_path, names=names)))
    assert data.classes == names


def test_images_may_lie_deeper(tmp_path):
    classes_of(tmp_path)
    write(tmp_path / 'cat' / 'more' / 'deep' / '1.png', 200)
    data = sources.load(config(tmp_path))
    assert 200 in greys(data.train) + greys(data.test)


def test_hidden_files_and_other_files_are_ignored_and_counted(tmp_path, caplog):
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
    assert '2 hidden files and files that are not images are ignored' in caplog.text


def test_the_order_of_writing_and_the_number_of_threads_change_nothing(tmp_path, monkeypatch):
    classes_of(tmp_path / 'a', count=12)
    for name in ('dog', 'cat'):
        for path in sorted((tmp_path / 'a' / name).iterdir(), reverse=True):
            copy = tmp_path / 'b' / name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    one = sources.load(config(tmp_path / 'a'))
    monkeypatch.setattr(decoded_folders, 'cores', lambda: [0])
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
    assert 'a folder of images for each class' in message


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


def test_a_class_of_one_image_is_counted_in_the_singular(tmp_path):
    classes_of(tmp_path)
    for path in sorted((tmp_path / 'dog').iterdir())[1:]:
        path.unlink()
    assert 'has 1 image, too few' in refusal(tmp_path)


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


def test_a_set_too_large_for_memory_and_disk_is_refused_before_an_image_is_read(tmp_path):
    classes_of(tmp_path / 'pictures')
    (tmp_path / 'pictures' / 'cat' / '00.png').write_bytes(b'damaged')
    keys = dict(image_size=16_384, memory_gb=0.1, dir=str(tmp_path), damaged='stop')
    usage = mock.Mock(free=2**30)
    with (
        mock.patch('shutil.disk_usage', return_value=usage),
        pytest.raises(UserError, match=r'take 6 GB .* has 1 GB free\): .*--config\.data\.dir'),
    ):
        sources.load(config(tmp_path / 'pictures', **keys))


# Damaged images


@pytest.mark.parametrize('content', [b'', b'text', claiming(60000, 60000)])
def test_a_damaged_image_stops_the_run_and_is_named(tmp_path, content):
    path = classes_of(tmp_path) / 'dog' / '02.png'
    path.write_bytes(content)
    message = refusal(tmp_path)
    assert message.startswith(f'{path} ')
    assert message.endswith(' it, or skip such files with --config.data.damaged=skip.')


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
    assert '2 of 10 images were skipped' in caplog.text


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
    assert [*progress.track('abcdef', 6, 'reading images')] == [*'abcdef']
    assert caplog.messages == [
        'reading images: 3/6  12 s left',
        'reading images: 6/6  0 s left',
    ]


def test_on_a_terminal_a_bar_tells_how_many_are_done(capsys, monkeypatch):
    monkeypatch.setenv('TTY_COMPATIBLE', '1')
    assert [*progress.track('abcdef', 6, 'reading images')] == [*'abcdef']
    out, shown = capsys.readouterr()
    assert out == ''
    assert 'reading images' in shown
    assert '6/6' in shown


# A whole run


@pytest.mark.slow
def test_a_folder_of_digits_trains_and_evaluates(tmp_path):
    bunch = load_digits()
    for row in range(100):
        path = tmp_path / 'digits' / str(bunch.target[row]) / f'{row}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(bunch.images[row] * (255 / 16)).astype(np.uint8)).save(path)
    run_config = get_defaults()
    run_config.data = config(tmp_path / 'digits', image_size=16)
    run_config.model.name = 'SmallVGG'
    run_config.model.widths = (4, 8)
    run_config.train.batch_size = 16
    run_config.train.length = '3 steps'
    run_config.log.tensorboard = False
    assert train(run_config, tmp_path / 'run')['finished']
    result = evaluate(tmp_path / 'run', 'test')
    assert result['images'] == len(sources.load(run_config.data).test.labels)
    assert 0 <= result['accuracy'] <= 1
