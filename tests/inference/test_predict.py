"""Predictions for image files, compared with evaluating the same images as arrays."""

import io
import json
import pathlib
import struct
import sys
import types
import warnings
import zlib

import numpy as np
import pytest
from classifiers_by_hand import narrow
from PIL import Image

import cifar_jax
from cifar_jax import predict
from cifar_jax.data import image_files, pipeline
from cifar_jax.errors import UserError
from cifar_jax.experiment import config as configs
from cifar_jax.experiment import preprocessing, run
from cifar_jax.experiment.workdir import Workdir
from cifar_jax.inference import classifier as classifiers
from cifar_jax.inference import new_images, predictions
from cifar_jax.inference.evaluation import evaluate

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module', params=['small_vgg.py:smoke', 'numpy_cnn.py:smoke'])
def trained(request, tmp_path_factory):
    """The workdir of a short run of either backend, and its test images."""
    folder = tmp_path_factory.mktemp('run') / 'workdir'
    overrides = ['length=1 epochs', 'batch_size=16']
    overrides = [f'--config.train.{text}' for text in overrides]
    # Several batches, the last of them not full.
    overrides += ['--config.data.fraction=0.2', '--config.eval_batch_size=20']
    run.train(configs.load(f'{CONFIGS}/{request.param}', overrides), folder)
    classifier = classifiers.load(Workdir(folder))
    return folder, pipeline.prepare(classifier.config.data, classifier.normalizer).test


@pytest.fixture(scope='module')
def photograph(tmp_path_factory):
    """A file of an image that is not square, with a colour in each corner."""
    path = tmp_path_factory.mktemp('photograph') / 'photograph.png'
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
    Image.fromarray(corners).resize((90, 60), Image.Resampling.BILINEAR).save(path)
    return path


def classify(folder, *paths):
    answers = list(new_images.predict(folder, new_images.files(paths, bytes)))
    assert all(isinstance(answer, new_images.Prediction) for answer in answers), answers
    return answers


def command(monkeypatch, *arguments, stdin=b''):
    """Runs predict in this process and returns its status."""
    monkeypatch.setattr(sys, 'stdin', types.SimpleNamespace(buffer=io.BytesIO(stdin)))
    with pytest.raises(SystemExit) as ended:
        predict.main([*map(str, arguments)])
    return ended.value.code


def png_that_claims(width, height):
    """A PNG file of a few bytes whose header claims a size."""
    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
    return b'\x89PNG\r\n\x1a\n' + chunk


def test_the_test_images_as_files_get_the_same_logits_as_in_evaluate(trained, tmp_path):
    folder, test = trained
    evaluate(folder, 'test')
    for number, image in enumerate(test.images):
        Image.fromarray(image).save(tmp_path / f'{number:03}.png')
    answers = classify(folder, tmp_path)
    stored = predictions.read(Workdir(folder), 'test')
    np.testing.assert_array_equal([answer.logits for answer in answers], stored.logits)
    assert [answer.top(1)[0][0] for answer in answers] == [
        answers[0].classes[label] for label in stored.classes
    ]


def test_files_are_cropped_as_the_images_of_the_run_were(tmp_path):
    overrides = ['image_size=20', 'resize=crop', 'fraction=0.2']
    overrides = [f'--config.data.{text}' for text in overrides]
    overrides += ['--config.train.length=2 epochs', '--config.train.batch_size=16']
    folder = tmp_path / 'run'
    run.train(configs.load(f'{CONFIGS}/numpy_cnn.py:smoke', overrides), folder)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    (answer,) = classify(folder, tmp_path / 'a.png')
    classifier = classifiers.load(Workdir(folder))
    cropped = image_files.from_array(pixels, (20, 20), 'crop')
    expected = predictions.make_logits(classifier, 1)(cropped[None])
    np.testing.assert_allclose(answer.logits, expected[0], rtol=1e-5)
    np.testing.assert_array_equal(cifar_jax.load(folder).logits(pixels), answer.logits)


def test_an_interrupted_run_answers_as_well(trained, tmp_path):
    folder, test = trained
    summary = folder / 'summary.json'
    content = summary.read_bytes()
    summary.unlink()
    try:
        Image.fromarray(test.images[0]).save(tmp_path / '0.png')
        assert len(classify(folder, tmp_path / '0.png')) == 1
    finally:
        summary.write_bytes(content)


def test_every_mode_and_format_is_the_same_image(trained, photograph, tmp_path):
    folder, _ = trained
    with Image.open(photograph) as image:
        image.convert('RGBA').save(tmp_path / 'rgba.png')
        image.save(tmp_path / 'lossless.webp', lossless=True)
        image.convert('CMYK').save(tmp_path / 'cmyk.tif')
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its left side: to be turned clockwise
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / 'turned.png', exif=exif)
        grey = image.convert('L')
        grey.save(tmp_path / 'grey.png')
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / '16.png')
    (expected,) = classify(folder, photograph)
    coloured = classify(
        folder, *(tmp_path / n for n in ('rgba.png', 'lossless.webp', 'turned.png'))
    )
    for answer in coloured:
        np.testing.assert_allclose(answer.logits, expected.logits, rtol=1e-5, atol=1e-6)
    eight, sixteen, cmyk = classify(
        folder, *(tmp_path / n for n in ('grey.png', '16.png', 'cmyk.tif'))
    )
    np.testing.assert_allclose(sixteen.logits, eight.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cmyk.logits, expected.logits, rtol=0.05, atol=0.05)


def test_probabilities_are_the_softmax_in_descending_order():
    answer = new_images.Prediction(
        pathlib.Path('x.png'), ('a', 'b', 'c'), np.log(np.array([1, 7, 2], np.float32))
    )
    assert answer.top(2) == [('b', pytest.approx(0.7)), ('c', pytest.approx(0.2))]
    assert [name for name, _ in answer.top(9)] == ['b', 'c', 'a']
    assert answer.rows(2) == [('x.png', 'b', '70.00%'), ('', 'c', '20.00%')]
    assert len(answer.rows(9)) == 3


def test_a_name_that_is_no_text_is_shown_with_a_replacement():
    answer = new_images.Prediction(pathlib.Path('a\udcff.png'), ('a',), np.zeros(1, np.float32))
    assert answer.rows(1) == [('a\ufffd.png', 'a', '100.00%')]


def test_of_equal_probabilities_the_lower_class_comes_first():
    names = tuple(f'{label}' for label in range(100))
    logits = np.tile(np.array([0, 1], np.float32), 50)
    answer = new_images.Prediction(pathlib.Path('x.png'), names, logits)
    assert [name for name, _ in answer.top(100)] == [*names[1::2], *names[::2]]


def test_a_folder_stands_for_the_images_in_it_sorted_and_nothing_else(tmp_path):
    for name in ('b/2.PNG', 'b/10.jpg', 'a.webp', 'notes.txt', '.hidden/x.png', 'b/.x.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / name for name in ('a.webp', 'b/10.jpg', 'b/2.PNG')]
    assert new_images.files([tmp_path], bytes) == expected


@pytest.mark.parametrize('end', [b'\n', b'\0'])
def test_a_dash_stands_for_paths_on_standard_input(end):
    listed = end.join([b'a b.png', b'\xff.png', b''])
    files = new_images.files([pathlib.Path('-'), pathlib.Path('c.png')], lambda: listed)
    assert files == [pathlib.Path(name) for name in ('a b.png', '\udcff.png', 'c.png')]


def test_a_list_without_a_path_is_refused():
    with pytest.raises(UserError, match='names no image'):
        new_images.files([pathlib.Path('-')], lambda: b'\n')


def test_what_cannot_be_read_is_named_and_the_rest_is_predicted(
    trained, photograph, tmp_path, monkeypatch, capsys
):
    folder, _ = trained
    (tmp_path / 'broken.png').write_bytes(photograph.read_bytes()[:200])
    (tmp_path / 'huge.png').write_bytes(png_that_claims(100_000, 100_000))
    (tmp_path / 'empty').mkdir()
    names = ['broken.png', 'huge.png', 'empty', 'missing.png']
    bad = [tmp_path / name for name in names]
    arguments = ('--workdir', folder, '--json', '--top', 3, photograph, *bad, photograph)
    assert command(monkeypatch, *arguments) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(text) for text in out.splitlines()]
    assert [line['image'] for line in lines] == [str(photograph)] * 2
    assert [len(line['top']) for line in lines] == [3, 3]
    problems = err.splitlines()
    assert len(problems) == len(bad)
    for path, problem in zip(bad, problems, strict=True):
        assert problem.startswith('cifar_jax: ')
        assert str(path) in problem


def test_an_image_with_a_warning_is_read_too(trained, photograph, monkeypatch):
    folder, _ = trained
    read = image_files.read

    def warning(*arguments):
        warnings.warn('Corrupt EXIF data', stacklevel=1)
        return read(*arguments)

    monkeypatch.setattr(image_files, 'read', warning)
    assert len(classify(folder, photograph)) == 1


def test_a_run_on_images_that_are_not_square_takes_no_files(tmp_path, photograph, monkeypatch):
    oblong = narrow('BaseNet', shape=(12, 8, 3))
    monkeypatch.setattr(classifiers, 'load', lambda *_: oblong)
    stored = preprocessing.Preprocessing(oblong.classes, (12, 8, 3), oblong.normalizer, {})
    preprocessing.write(Workdir(tmp_path), stored)
    with pytest.raises(UserError, match='trained on images of 12 x 8, and files are read as squ'):
        classify(tmp_path, photograph)


def test_the_table_has_a_line_per_class(trained, photograph, monkeypatch, capsys):
    folder, _ = trained
    assert command(monkeypatch, '--workdir', folder, '-', stdin=f'{photograph}\n'.encode()) == 0
    out, err = capsys.readouterr()
    assert out.count('%') == 5
    assert err == ''


def test_a_folder_that_is_no_workdir_is_one_sentence(tmp_path, photograph, monkeypatch, capsys):
    assert command(monkeypatch, '--workdir', tmp_path / 'none', photograph) == 1
    assert 'No workdir' in capsys.readouterr().err


def test_a_name_in_brackets_is_no_markup(trained, photograph, tmp_path, monkeypatch, capsys):
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    pathlib.Path('[bold]x.png').write_bytes(photograph.read_bytes())
    assert command(monkeypatch, '--workdir', folder, '[bold]x.png') == 0
    assert '[bold]x.png' in capsys.readouterr().out
