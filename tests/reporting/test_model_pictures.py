"""The pictures of a network: architecture, filters, feature maps and Grad-CAM."""

import io

import jax
import matplotlib
import numpy as np
import pytest
from classifiers_by_hand import SHAPE, classifier, images, narrow

from cifar_jax import models
from cifar_jax.models import summary
from cifar_jax.reporting import architecture, feature_maps, filters, grad_cam_overlays
from cifar_jax.training.flax_network import FlaxNetwork

DENSE = FlaxNetwork((('reshape',), ('dense', {'neurons': 5})))
LABELS = np.array([0, 1])


def png(picture):
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, dpi=50)
    return buffer.getvalue()


def words(picture):
    """Returns all texts of a figure."""
    texts = [text.get_text() for text in picture.figure.findobj(matplotlib.text.Text)]
    return '\n'.join(texts)


def test_the_architecture_shows_the_totals_of_the_summary():
    model = models.create('SENet', 10)
    picture = architecture.draw(classifier(model, (32, 32, 3)), (32, 32, 3))
    assert summary.multiply_adds(model, (32, 32, 3)) == 78_546_720
    total = '1,600,492 trainable parameters and 3,600 statistics, 157 million FLOPs'
    assert picture.title == f'Architecture: SENet, {total}'
    assert total in picture.alt
    assert total in words(picture).replace('\n', ' ')


@pytest.fixture(scope='module')
def diagram():
    """The architecture of a SmallVGG with two blocks."""
    shape = (16, 16, 3)
    return architecture.draw(classifier(models.create('SmallVGG', 5, widths=[8, 64]), shape), shape)


def test_boxes_show_the_width_of_the_map_and_the_logarithm_of_its_channels(diagram):
    boxes = [
        (patch.get_width(), patch.get_height())
        for axes in diagram.figure.axes
        for patch in axes.patches
        if isinstance(patch, matplotlib.patches.Rectangle)
    ]
    image, first, _, third, *_ = boxes
    assert image[0] == first[0] == 2 * third[0]
    heights = [0.06 + 0.045 * np.log2(channels) for channels in (3, 8, 64)]
    np.testing.assert_allclose([image[1], first[1], third[1]], heights)


def test_arrows_show_the_outputs_of_pooling_and_flattening(diagram):
    assert {'8x8x8', '1024'} <= set(words(diagram).split('\n'))


def test_an_image_that_is_resized_is_narrower_than_the_first_map():
    shape = (16, 16, 3)
    model = models.create('SmallVGG', 5, widths=[8, 64], input_size=32)
    drawn = architecture.draw(classifier(model, shape), shape)
    image, first, *_ = (patch.get_width() for patch in drawn.figure.axes[0].patches)
    assert 2 * image == first
    assert '32x32x3' in words(drawn)


def test_features_have_room_above_the_first_layer():
    shape = (1, 1, 2048)
    drawn = architecture.draw(classifier(models.create('DenseHead', 5), shape), shape)
    features, hidden, _ = drawn.figure.axes[0].patches
    # The axis of the figure points down.
    assert hidden.get_y() - (features.get_y() + features.get_height()) > 0.2


def test_filters_are_scaled_around_grey():
    kernel = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)
    tile = filters.tile(kernel)
    np.testing.assert_allclose(tile - 0.5, kernel / np.abs(kernel).max() / 2, rtol=1e-5)
    np.testing.assert_array_equal(filters.tile(np.zeros((1, 1, 3), np.float32)), 0.5)


def test_filters_are_those_of_the_first_convolution():
    model = narrow('InceptionNet')
    kernel = model.variables['params']['stem1']['Conv_0']['kernel']
    np.testing.assert_array_equal(filters.first_kernels(model, SHAPE), kernel)
    picture = filters.draw(model, SHAPE)
    drawn = [axes.images[0].get_array() for axes in picture.figure.axes]
    for index, array in enumerate(drawn):
        np.testing.assert_allclose(array, filters.tile(kernel[..., index]))
    assert picture.alt.startswith('4 filters of 3x3x3, ')


def test_filters_of_grey_images_are_white_at_0():
    shape = (12, 8, 1)
    model = classifier(models.create('SmallVGG', 5, widths=(3,)), shape)
    picture = filters.draw(model, shape)
    assert picture.figure.axes[0].images[0].get_cmap().name == 'RdBu'
    assert 'white is 0' in words(picture)


def test_the_strongest_channels_have_the_largest_mean_absolute_values():
    maps = np.zeros((2, 2, 10), np.float32)
    maps[0, 0] = [1, -5, 3, 0, 2, 2, 9, -8, 4, 6]
    assert feature_maps.strongest(maps).tolist() == [6, 7, 9, 1, 8, 2, 4, 5]


def test_feature_maps_have_one_row_per_block_and_are_reproducible():
    model, image = narrow('PlainCNN'), images(1)[0]
    picture, again = (feature_maps.draw(model, image, 'test image 0, a cat') for _ in range(2))
    assert len(picture.figure.axes) == 1 + 3 + 4
    assert {'Conv_0', '12x8x3', 'Conv_1', '6x4x4'} <= set(words(picture).split('\n'))
    assert picture.alt.startswith(
        'The strongest feature maps of each block for test image 0, a cat'
    )
    assert png(picture) == png(again)


def test_maps_with_negative_values_are_white_at_0():
    model = classifier(
        FlaxNetwork((('conv', {'depth': 2}), ('reshape',), ('dense', {'neurons': 5})))
    )
    picture = feature_maps.draw(model, images(1)[0], 'an image')
    _, first, _ = picture.figure.axes
    low, high = first.images[0].get_clim()
    assert (first.images[0].get_cmap().name, low) == ('RdBu', -high)
    assert 'red below 0' in words(picture).replace('\n', ' ')


def test_grad_cam_has_one_row_per_image_and_is_reproducible():
    model, pixels = narrow('SENet'), images(2)
    picture, again = (grad_cam_overlays.draw(model, pixels, LABELS) for _ in range(2))
    assert len(picture.figure.axes) == 2 * 3
    assert (
        'Grad-CAM heat maps at stage2_block1 (6x4) over 2 images: class 0, predicted as '
        in picture.alt
    )
    assert png(picture) == png(again)


def test_grad_cam_uses_the_last_block_with_large_enough_maps():
    shape = (12, 6, 3)
    picture = grad_cam_overlays.draw(narrow('PlainCNN', shape=shape), images(1, shape), LABELS[:1])
    assert 'Grad-CAM heat maps at Conv_0 (12x6) over 1 images' in picture.alt


@pytest.mark.parametrize('size', [(32, 32), (24, 36)])
def test_heat_maps_are_upsampled_bilinearly(size):
    cam = np.random.default_rng(0).random((4, 6), np.float32)
    expected = jax.image.resize(cam, size, 'linear', antialias=False)
    np.testing.assert_allclose(grad_cam_overlays.upsampled(cam, size), expected, atol=1e-5)


def test_an_overlay_is_yellow_where_the_map_is_largest_and_violet_where_it_is_0():
    image = np.full((32, 32, 3), 128, np.uint8)
    cam = np.zeros((2, 2), np.float32)
    cam[1, 0] = 7
    blended = grad_cam_overlays.overlay(image, cam).astype(int)
    low, high = (matplotlib.colormaps['viridis'](x)[:3] for x in (0.0, 1.0))
    np.testing.assert_allclose(blended[0, -1], 0.6 * 128 + 0.4 * 255 * np.array(low), atol=1)
    np.testing.assert_allclose(blended[-1, 0], 0.2 * 128 + 0.8 * 255 * np.array(high), atol=1)


def test_pictures_of_a_network_without_a_convolution_say_so():
    model = classifier(DENSE)
    for picture in (
        filters.draw(model, SHAPE),
        feature_maps.draw(model, images(1)[0], 'an image'),
        grad_cam_overlays.draw(model, images(2), LABELS),
    ):
        assert picture.alt.startswith('This network has no convolution: ')
        assert words(picture).strip() == picture.alt
