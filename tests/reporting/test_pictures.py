"""The pictures of a report: what is written in them and said of them."""

import hashlib
import itertools

import numpy as np
import pytest
from sklearn import metrics

from cifar_jax.data.arrays import Arrays
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared
from cifar_jax.inference.predictions import Predictions
from cifar_jax.reporting import (
    calibration,
    class_counts,
    confusion,
    curves,
    errors,
    guesses,
    samples,
    scores,
    style,
)

CLASSES = ('plane', 'car', 'bird', 'cat')


def line(epoch: int, **values):
    return {'epoch': epoch, 'rate': 0.1, 'train_loss': 2.0, 'train_accuracy': 0.2} | values


def arrays(labels) -> Arrays:
    random = np.random.default_rng(0)
    images = random.integers(256, size=(len(labels), 8, 8, 3), dtype=np.uint8)
    return Arrays(images, np.asarray(labels, np.int32))


def judged(classes: int = 4, images: int = 60) -> Predictions:
    """Predictions that are right more often than not."""
    random = np.random.default_rng(1)
    labels = random.integers(classes, size=images).astype(np.int32)
    logits = random.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 1
    return Predictions(labels, logits, 'weights')


def texts(picture) -> list[str]:
    """What is written in the axes, in order."""
    return [text.get_text() for axes in picture.figure.axes for text in axes.texts]


def legend(picture) -> list[str]:
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


def test_curves_mark_the_best_epoch():
    lines = [
        line(1, val_loss=2.1, val_accuracy=0.25),
        line(2, val_loss=1.7, val_accuracy=0.41),
        line(3, val_loss=1.6, val_accuracy=0.39, rate=0.01),
    ]
    accuracy, loss, rate = curves.draw(lines, 'accuracy')
    assert legend(accuracy) == ['training', 'validation', 'best epoch 2: 41.0%']
    assert legend(loss) == ['training', 'validation', 'best epoch 2: 1.700']
    assert 'best epoch 2: 41.0%' in accuracy.alt
    assert legend(curves.draw(lines, 'loss')[0])[-1] == 'best epoch 3: 39.0%'
    assert rate.alt == ('Learning rate at the end of each epoch: from 0.1 to 0.01, 0.1 at most.')


def test_curves_without_validation_are_those_of_training():
    accuracy, loss, _ = curves.draw([line(1), line(2)], 'accuracy')
    assert legend(accuracy) == legend(loss) == ['training']
    assert 'validation' not in accuracy.alt


def test_a_run_without_an_epoch_has_no_curves():
    assert curves.draw([], 'accuracy') == ()


def test_the_confusion_matrix_has_true_classes_as_columns():
    found = judged()
    wanted = metrics.confusion_matrix(found.labels, found.classes)
    whole, wrong = confusion.draw(scores.confusion(found.labels, found.classes, 4), CLASSES)
    axes = whole.figure.axes[0]
    assert axes.get_xlabel() == 'true class'
    assert axes.get_ylabel() == 'predicted class'
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(CLASSES)
    written = {text.get_position(): int(text.get_text()) for text in axes.texts}
    for (true, predicted), count in np.ndenumerate(wanted):
        assert written.get((true, predicted), 0) == count
    off = {text.get_position() for text in wrong.figure.axes[0].texts}
    assert off == {place for place in written if place[0] != place[1]}


def test_a_matrix_of_many_classes_has_no_counts_but_every_name():
    names = [f'class {number}' for number in range(100)]
    found = judged(100, 3000)
    with style.applied():
        whole, _ = confusion.draw(scores.confusion(found.labels, found.classes, 100), names)
        whole.figure.draw_without_rendering()
    axes = whole.figure.axes[0]
    assert not axes.texts
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    boxes = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_mixups_are_said_in_words():
    matrix = np.diag([900, 1000, 1000, 877])
    matrix[3, 2] = 123
    matrix[0, 1] = 100
    assert confusion.sentences(scores.mixups(matrix), CLASSES) == [
        'cat taken for bird: 123 of 1,000',
        'plane taken for car: 100 of 1,000',
    ]
    _, wrong = confusion.draw(matrix, CLASSES)
    assert 'cat taken for bird: 123 of 1,000' in wrong.alt


def test_a_network_without_an_error_is_drawn_too():
    whole, wrong = confusion.draw(np.diag([5, 5, 5, 5]), CLASSES)
    assert len(texts(whole)) == 4
    assert texts(wrong) == []
    assert 'There is no error.' in wrong.alt
    logits = np.eye(4, dtype=np.float32) * 9
    perfect = Predictions(np.arange(4, dtype=np.int32), logits, '')
    assert guesses.mistakes(arrays(range(4)), perfect, CLASSES) == ()
    numbers = scores.by_class(perfect.labels, perfect.classes, 4)
    for picture in (errors.in_all(numbers), *errors.by_class(numbers, CLASSES)):
        assert style.files(picture.figure)['png']


def test_hits_and_errors_add_up():
    found = judged()
    numbers = scores.by_class(found.labels, found.classes, 4)
    hits, (wrong, _) = errors.in_all(numbers), errors.by_class(numbers, CLASSES)
    right = int((found.labels == found.classes).sum())
    assert f'{right} of 60 images are hits' in hits.alt
    assert f'and {60 - right} errors' in hits.alt
    assert sum(int(text.split()[0]) for text in texts(wrong)) == 60 - right


def test_the_reliability_diagram_states_the_error():
    found = judged()
    reliability = scores.reliability(found.labels, found.probabilities)
    picture = calibration.draw(reliability)
    assert texts(picture) == [f'ECE {reliability.error:.2%}']
    assert f'expected calibration error {reliability.error:.2%}' in picture.alt
    assert f'accuracy {(found.labels == found.classes).mean():.1%}' in picture.alt


def test_the_bars_are_of_all_of_few_classes_and_of_the_top_five_of_many():
    for classes, bars in ((4, 4), (10, 10), (11, 5), (100, 5)):
        found = judged(classes)
        names = [f'class {number}' for number in range(classes)]
        picture = guesses.sample(arrays(found.labels), found, names)
        panels = picture.figure.axes[1::2]
        assert len(panels) == guesses.SHOWN
        rows = np.random.default_rng(guesses.DRAW).choice(60, guesses.SHOWN, replace=False)
        for panel, row in zip(panels, rows, strict=True):
            widths = [patch.get_width() for patch in panel.patches]
            assert len(widths) == bars
            assert max(widths) == pytest.approx(found.probabilities[row].max())
            assert names[found.classes[row]] in panel.get_title(loc='left')


def test_mistakes_are_the_most_certain_ones_first():
    found = judged()
    (picture,) = guesses.mistakes(arrays(found.labels), found, CLASSES)
    wrong = found.probabilities.max(-1)[found.labels != found.classes]
    wanted = [f'{value:.1%}' for value in sorted(wrong, reverse=True)[:16]]
    titles = [axes.get_title() for axes in picture.figure.axes]
    assert [title.split('\n')[1].split(',')[0] for title in titles] == wanted


def test_the_sample_is_labelled_and_the_same_every_time():
    train = arrays(np.arange(40) % 4)
    first, second = samples.draw(train, CLASSES), samples.draw(train, CLASSES)
    titles = [axes.get_title() for axes in first.figure.axes]
    assert titles == [axes.get_title() for axes in second.figure.axes]
    assert len(titles) == 16
    assert set(titles) <= set(CLASSES)
    for axes in first.figure.axes:
        shown = np.asarray(axes.images[0].get_array())
        (row,) = np.flatnonzero((train.images == shown).all(axis=(1, 2, 3)))
        assert axes.get_title() == CLASSES[train.labels[row]]


def test_a_grid_that_is_not_full_has_no_empty_axes():
    picture = samples.draw(arrays([0, 1]), CLASSES)
    assert [axes.axison for axes in picture.figure.axes] == [True, True, False, False]


def test_one_epoch_and_a_class_without_images_are_drawn():
    accuracy, _, _ = curves.draw([line(1)], 'accuracy')
    accuracy.figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in accuracy.figure.axes[0].get_xticklabels()]
    assert [text for text in ticks if '.' in text] == []
    numbers = scores.by_class(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    wrong, shares = errors.by_class(numbers, CLASSES[:3])
    assert texts(wrong) == ['1  (50.0% right)', '0  (100.0% right)', '0  (none right)']
    assert 'bird none and none' in shares.alt


def test_class_counts_are_those_of_every_part():
    normalizer = Normalizer(np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32), None)
    data = Prepared(arrays([0, 0, 1, 2, 3, 3]), None, arrays([1, 2, 2]), CLASSES, normalizer)
    picture = class_counts.draw(data)
    heights = [[bar.get_height() for bar in axes.patches] for axes in picture.figure.axes]
    assert heights == [[2, 1, 1, 2], [0, 1, 2, 0]]
    assert picture.alt == ('training: 6 images, 1 to 2 a class; test: 3 images, 0 to 2 a class.')


def test_a_figure_gives_the_same_bytes_every_time():
    def hashes():
        with style.applied():
            picture = curves.draw([line(1), line(2, train_loss=1.5)], 'accuracy')[1]
            files = style.files(picture.figure)
        return {suffix: hashlib.sha256(content).hexdigest() for suffix, content in files.items()}

    assert hashes() == hashes()


def test_a_name_with_dollars_and_letters_of_any_script_is_drawn():
    with style.applied():
        picture = samples.draw(arrays([0, 1]), ('$x_{$', 'кот 猫 \U0001f408\nx'))
        assert b'<svg' in style.files(picture.figure)['svg']
