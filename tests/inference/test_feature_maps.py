"""Feature maps and Grad-CAM compared with the NumPy reference and computations by hand."""

import jax
import jax.numpy as jnp
import narrow_models
import numpy as np
import pytest
from classifiers_by_hand import SHAPE, classifier, images, inputs, narrow

from cifar_jax.crosscheck import networks, variables
from cifar_jax.data.normalize import Normalizer
from cifar_jax.inference.feature_maps import feature_maps
from cifar_jax.inference.grad_cam import cams
from cifar_jax.models import blocks
from cifar_jax.reference import graph as graphs
from cifar_jax.training.flax_network import FlaxNetwork

LAYERS = (
    ('conv', {'depth': 4}),
    ('batchnorm',),
    ('maxpool',),
    ('activation', {'activation': 'relu'}),
    ('reshape',),
    ('dense', {'neurons': 5}),
    ('activation', {'activation': 'softmax'}),
)


def reference(own, pixels):
    """Returns what each node of the NumPy twin computes of some images, in evaluation."""
    graph = networks.graph_of(own.model, pixels.shape[1:])
    params, statistics = (
        variables.to_reference(graph, own.variables.get(part, {}))
        for part in ('params', 'batch_stats')
    )
    return graphs.forward(graph, params, statistics, inputs(own, pixels), train=False).outputs


@pytest.mark.parametrize('name', narrow_models.OPTIONS)
def test_the_maps_of_every_model_are_the_reference_s_and_leave_a_relu(name):
    # The inverted residuals of EfficientNets end without an activation.
    ends_with_relu = not name.startswith('EfficientNet')
    own, pixels = narrow(name), images(3)
    by_block = feature_maps(own, pixels)
    nodes = reference(own, pixels)
    expected = [block for block in blocks.of(own.model, SHAPE) if block.convolves]
    assert list(by_block) == [block.name for block in expected]
    for block in expected:
        assert by_block[block.name].dtype == np.float32
        assert by_block[block.name].shape == (3, *block.output)
        np.testing.assert_allclose(by_block[block.name], nodes[block.maps], rtol=1e-4, atol=1e-5)
        assert by_block[block.name].min() >= 0 or not ends_with_relu


def test_the_maps_of_a_list_of_layers_are_the_reference_s_on_whitened_images():
    size = int(np.prod(SHAPE))
    whitening = np.random.default_rng(3).normal(size=(size, size)).astype(np.float32) / 10
    normalizer = Normalizer(*(np.full((1, 1, 3), x, np.float32) for x in (0.5, 1)), whitening)
    own, pixels = classifier(FlaxNetwork(LAYERS), normalizer=normalizer), images(2)
    by_block = feature_maps(own, pixels)
    assert list(by_block) == ['1-conv']
    expected = reference(own, pixels)['2-batchnorm']
    np.testing.assert_allclose(by_block['1-conv'], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('dtype', 'backend'), [(jnp.bfloat16, 'jax'), (jnp.float32, 'jax')])
def test_precision_and_operations_change_little(dtype, backend):
    usual = feature_maps(narrow('SmallVGG', devices=1), images(2))
    by_block = feature_maps(narrow('SmallVGG', dtype, backend=backend), images(2))
    tolerance = 0.05 if dtype == jnp.bfloat16 else 1e-5
    for name, maps in by_block.items():
        assert maps.dtype == np.float32
        np.testing.assert_allclose(maps, usual[name], atol=tolerance * usual[name].max())


def test_a_network_without_convolutions_has_no_maps():
    dense = FlaxNetwork((('reshape',), ('dense', {'neurons': 5})))
    assert feature_maps(classifier(dense), images(2)) == {}


def last_block(own):
    return [block for block in blocks.of(own.model, SHAPE) if block.convolves][-1]


@pytest.mark.parametrize('name', ['SENet', 'InceptionNet'])
def test_behind_a_mean_over_positions_grad_cam_has_a_closed_form(name):
    """The logits are mean(A) @ W + b, so that w_k is W[k] / positions (Selvaraju et al., 3.1)."""
    own, pixels = narrow(name), images(3)
    block = last_block(own)
    heat_maps = cams(own, block, pixels, np.array([0, 1, 2]))
    maps, kernel = reference(own, pixels)[block.maps], own.variables['params']['head']['kernel']
    positions = maps.shape[1] * maps.shape[2]
    weights = kernel[:, heat_maps.classes] / positions  # features, images, 2
    expected = np.maximum(np.einsum('nhwk,knc->nchw', maps, weights), 0)
    assert expected.max() > 1e-3
    np.testing.assert_allclose(heat_maps.maps, expected, rtol=1e-4, atol=1e-5)


def test_grad_cam_equals_the_network_split_by_hand():
    own, pixels = narrow('SmallVGG'), images(3)
    block = last_block(own)
    assert (block.maps, block.output) == ('Conv_3', (6, 4, 4))
    heat_maps = cams(own, block, pixels, np.array([3, 4, 0]))
    params = own.variables['params']
    dense = params['Dense_0']

    def convolved(x):
        for place in range(4):
            if place == 2:
                x = pooled(x)
            own_params = params[f'Conv_{place}']
            x = jax.lax.conv_general_dilated(
                x, own_params['kernel'], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
            )
            x = jnp.maximum(x + own_params['bias'][None, None, None], 0)
        return x

    def pooled(x):
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

    def head(maps):
        return pooled(maps).reshape(len(maps), -1) @ dense['kernel'] + dense['bias'][None]

    maps = convolved(jnp.asarray(inputs(own, pixels), jnp.float32))
    logits = head(maps)
    rows = np.arange(3)
    for place in range(2):
        kinds = heat_maps.classes[:, place]
        gradient = jax.grad(lambda maps, kinds=kinds: head(maps)[rows, kinds].sum())(maps)
        weights = np.asarray(gradient).mean((1, 2))
        expected = np.maximum(np.einsum('nhwk,nk->nhw', maps, weights), 0)
        assert expected.max() > 1e-3
        np.testing.assert_allclose(heat_maps.maps[:, place], expected, rtol=1e-4, atol=1e-5)
    probabilities = jax.nn.softmax(logits)
    np.testing.assert_allclose(
        heat_maps.probabilities, probabilities[rows[:, None], heat_maps.classes], rtol=1e-4
    )


def test_grad_cam_asks_for_the_most_probable_class_and_the_true_one_or_the_next():
    own, pixels = narrow('BaseNet'), images(2)
    order = np.argsort(-reference(own, pixels)['Dense_1'])
    right, wrong = order[0, 0], order[1, 3]
    heat_maps = cams(own, last_block(own), pixels, np.array([right, wrong]))
    np.testing.assert_array_equal(heat_maps.classes, [order[0, :2], [order[1, 0], wrong]])


def test_grad_cam_of_bfloat16_on_other_operations_is_close():
    usual = narrow('SENet', devices=1)
    block = last_block(usual)
    labels = np.zeros(3, np.int32)
    expected = cams(usual, block, images(3), labels)
    other = narrow('SENet', jnp.bfloat16, backend='jax')
    heat_maps = cams(other, block, images(3), labels)
    same = heat_maps.classes == expected.classes
    assert same.any()
    difference = np.abs(heat_maps.maps - expected.maps)[same]
    assert difference.max() < 0.1 * expected.maps.max()


def test_grad_cam_reads_a_list_of_layers():
    own, pixels = classifier(FlaxNetwork(LAYERS)), images(2)
    block = last_block(own)
    assert cams(own, block, pixels, np.array([0, 1])).maps.shape == (2, 2, 10, 6)
