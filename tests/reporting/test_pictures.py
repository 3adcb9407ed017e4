"""The pictures of a report: their texts and descriptions."""

import hashlib
import itertools

import numpy as np
import pytest
from sklearn import metrics

from cifar_jax.data import splits
from cifar_jax.data.arrays import Arrays
from cifar_jax.data.normalize import Normalizer
from cifar_jax.data.pipeline import Prepared
from cifar_jax.inference.classifier import Classifier
from cifar_jax.inference.evaluation import Evaluated
from cifar_jax.inference.predictions import Predictions
from cifar_jax.reporting import (
    calibration,
    class_counts,
    confusion,
    curves,
    errors,
    examples,
    feature_maps,
    filters,
    grad_cam_overlays,
    live,
    pictures,
    samples,
    scores,
    style,
)
from cifar_jax.reporting.facts import Report
from cifar_jax.reporting.picture import Picture

CLASSES = ('plane', 'car', 'bird', 'cat')


def only(kind, **fields):
    """Returns a named tuple with these fields, and None for the others."""
    return kind(**dict.fromkeys(kind._fields) | fields)


def line(epoch: int, **values):
    return {'epoch': epoch, 'rate': 0.1, 'train_loss': 2.0, 'train_accuracy': 0.2} | values


def arrays(labels) -> Arrays:
    random = np.random.default_rng(0)
    images = random.integers(256, size=(len(labels), 8, 8, 3), dtype=np.uint8)
    return Arrays(images, np.asarray(labels, np.int32))


def random_predictions(classes: int = 4, images: int = 60) -> Predictions:
    """Returns predictions that are mostly correct."""
    random = np.random.default_rng(1)
    labels = random.integers(classes, size=images).astype(np.int32)
    logits = random.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 1
    return Predictions(labels, logits, 'weights')


def texts(picture) -> list[str]:
    """Returns the texts in the axes, in order."""
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
    assert rate.alt == ('Learning rate at the end of each epoch: from 0.1 to 0.01, at most 0.1.')


def test_curves_without_validation_show_training_only():
    accuracy, loss, _ = curves.draw([line(1), line(2)], 'accuracy')
    assert legend(accuracy) == legend(loss) == ['training']
    assert 'validation' not in accuracy.alt


def test_a_run_without_an_epoch_has_no_curves():
    assert curves.draw([], 'accuracy') == ()


def test_the_confusion_matrix_has_true_classes_as_columns():
    predictions = random_predictions()
    expected = metrics.confusion_matrix(predictions.labels, predictions.classes)
    full, wrong = confusion.draw(
        scores.confusion(predictions.labels, predictions.classes, 4), CLASSES
    )
    axes = full.figure.axes[0]
    assert axes.get_xlabel() == 'true class'
    assert axes.get_ylabel() == 'predicted class'
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(CLASSES)
    written = {text.get_position(): int(text.get_text()) for text in axes.texts}
    for (true, predicted), count in np.ndenumerate(expected):
        assert written.get((true, predicted), 0) == count
    off_diagonal = {text.get_position() for text in wrong.figure.axes[0].texts}
    assert off_diagonal == {cell for cell in written if cell[0] != cell[1]}


def test_a_matrix_of_many_classes_has_no_counts_but_every_name():
    names = [f'class {number}' for number in range(100)]
    predictions = random_predictions(100, 3000)
    with style.applied():
        full, _ = confusion.draw(
            scores.confusion(predictions.labels, predictions.classes, 100), names
        )
        full.figure.draw_without_rendering()
    axes = full.figure.axes[0]
    assert not axes.texts
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    boxes = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_confused_pairs_are_described():
    matrix = np.diag([900, 1000, 1000, 877])
    matrix[3, 2] = 123
    matrix[0, 1] = 100
    assert confusion.sentences(scores.most_confused(matrix), CLASSES) == [
        'cat predicted as bird: 123 of 1,000',
        'plane predicted as car: 100 of 1,000',
    ]
    _, wrong = confusion.draw(matrix, CLASSES)
    assert 'cat predicted as bird: 123 of 1,000' in wrong.alt


def test_perfect_predictions_are_drawn():
    full, wrong = confusion.draw(np.diag([5, 5, 5, 5]), CLASSES)
    assert len(texts(full)) == 4
    assert texts(wrong) == []
    assert 'There are no errors.' in wrong.alt
    logits = np.eye(4, dtype=np.float32) * 9
    perfect = Predictions(np.arange(4, dtype=np.int32), logits, '')
    assert examples.mistakes(arrays(range(4)), perfect, CLASSES) == ()
    numbers = scores.by_class(perfect.labels, perfect.classes, 4)
    for picture in (errors.total(numbers), *errors.by_class(numbers, CLASSES)):
        assert style.files(picture.figure)['png']


def test_correct_predictions_and_errors_add_up():
    predictions = random_predictions()
    numbers = scores.by_class(predictions.labels, predictions.classes, 4)
    total, (wrong, _) = errors.total(numbers), errors.by_class(numbers, CLASSES)
    correct = int((predictions.labels == predictions.classes).sum())
    assert f'{correct} of 60 images are classified correctly' in total.alt
    assert f'{60 - correct} are not' in total.alt
    assert sum(int(text.split()[0]) for text in texts(wrong)) == 60 - correct


def test_the_reliability_diagram_states_the_error():
    predictions = random_predictions()
    reliability = scores.reliability(predictions.labels, predictions.probabilities)
    picture = calibration.draw(reliability)
    assert texts(picture) == [f'ECE {reliability.error:.2%}']
    assert f'expected calibration error {reliability.error:.2%}' in picture.alt
    assert f'accuracy {(predictions.labels == predictions.classes).mean():.1%}' in picture.alt


def test_many_classes_are_reduced_to_the_top_five():
    for classes, bars in ((4, 4), (10, 10), (11, 5), (100, 5)):
        predictions = random_predictions(classes)
        names = [f'class {number}' for number in range(classes)]
        picture = examples.sample(arrays(predictions.labels), predictions, names)
        panels = picture.figure.axes[1::2]
        assert len(panels) == examples.SAMPLES
        rows = splits.sample(predictions.labels, examples.SAMPLES, examples.SEED)
        for panel, row in zip(panels, rows, strict=True):
            widths = [patch.get_width() for patch in panel.patches]
            assert len(widths) == bars
            assert max(widths) == pytest.approx(predictions.probabilities[row].max())
            assert names[predictions.classes[row]] in panel.get_title(loc='left')


def test_the_most_confident_mistakes_come_first():
    predictions = random_predictions()
    (picture,) = examples.mistakes(arrays(predictions.labels), predictions, CLASSES)
    wrong = predictions.probabilities.max(-1)[predictions.labels != predictions.classes]
    expected = [f'{value:.1%}' for value in sorted(wrong, reverse=True)[:16]]
    titles = [axes.get_title() for axes in picture.figure.axes]
    assert [title.split('\n')[1].split(',')[0] for title in titles] == expected


def test_the_sample_is_labelled_and_reproducible():
    train = arrays(np.arange(40) % 4)
    first, second = samples.draw(train, CLASSES), samples.draw(train, CLASSES)
    titles = [axes.get_title() for axes in first.figure.axes]
    assert titles == [axes.get_title() for axes in second.figure.axes]
    assert len(titles) == 16
    assert [titles.count(name) for name in CLASSES] == [4] * 4
    for axes in first.figure.axes:
        pixels = np.asarray(axes.images[0].get_array())
        (row,) = np.flatnonzero((train.images == pixels).all(axis=(1, 2, 3)))
        assert axes.get_title() == CLASSES[train.labels[row]]


@pytest.mark.parametrize(
    ('draw', 'explained'), [(live.draw, live.EXPLAINED), (pictures.SECTIONS[-1].draw, 4)]
)
def test_images_ordered_by_class_are_drawn_from_all_classes(draw, explained, monkeypatch):
    ordered = arrays(np.repeat([0, 1, 2, 3], 300))
    drawn = {}
    stub = Picture('', '', '', None)
    for module in (filters, feature_maps, grad_cam_overlays, confusion):
        name = module.__name__.rpartition('.')[2]
        monkeypatch.setattr(
            module, 'draw', lambda *args, name=name: drawn.update({name: args}) or [stub]
        )
    monkeypatch.setattr(
        live, 'make_logits', lambda *_: lambda x: np.eye(4, dtype=np.float32)[[0] * len(x)]
    )
    classifier = only(Classifier, classes=CLASSES)
    data = only(Prepared, test=ordered)
    report = only(Report, evaluated=only(Evaluated, classifier=classifier, data=data, split='test'))
    [*(draw(classifier, ordered) if draw is live.draw else draw(report))]
    _, images, labels = drawn['grad_cam_overlays']
    assert len({*labels[:4]}) == explained
    assert np.array_equal(drawn['feature_maps'][1], images[0])
    if draw is live.draw:
        assert drawn['confusion'][0].sum(axis=1).tolist() == [live.IMAGES / 4] * 4


def test_a_grid_that_is_not_full_has_no_empty_axes():
    picture = samples.draw(arrays([0, 1]), CLASSES)
    assert [axes.axison for axes in picture.figure.axes] == [True, True, False, False]


def test_one_epoch_and_a_class_without_images_are_drawn():
    accuracy, _, _ = curves.draw([line(1)], 'accuracy')
    accuracy.figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in accuracy.figure.axes[0].get_xticklabels()]
    assert [text for text in ticks if '.' in text] == []
    numbers = scores.by_class(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    wrong, precision_recall = errors.by_class(numbers, CLASSES[:3])
    assert texts(wrong) == ['1  (50.0% correct)', '0  (100.0% correct)', '0  (none correct)']
    assert 'bird none and none' in precision_recall.alt


def test_class_counts_cover_every_split():
    normalizer = Normalizer(np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32), None)
    data = Prepared(arrays([0, 0, 1, 2, 3, 3]), None, arrays([1, 2, 2]), CLASSES, normalizer)
    picture = class_counts.draw(data)
    heights = [[bar.get_height() for bar in axes.patches] for axes in picture.figure.axes]
    assert heights == [[2, 1, 1, 2], [0, 1, 2, 0]]
    assert picture.alt == (
        'training: 6 images, 1 to 2 per class; test: 3 images, 0 to 2 per class.'
    )


def test_the_bytes_of_a_figure_are_reproducible():
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
