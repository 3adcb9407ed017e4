"""The measurement of Winograd's limits: its arithmetic, and one shape for real."""

import math

import pytest

import winograd_limits
from cifar_jax.ops import onednn
from winograd_limits import Shape, Times

pytestmark = pytest.mark.skipif(bool(onednn.problem()), reason=onednn.problem())
CHOSEN, NOT_CHOSEN = Shape(3, 16, 16, 8, 2), Shape(3, 16, 16, 2, 64)


def test_the_loss_is_relative_to_the_faster_algorithm_of_each_direction():
    few = [Shape(3, 64, 64, 8, batch) for batch in (1, 2)]
    forward_only = next(shape for shape in few if shape.chosen(gradient=False))
    rounds = [Times((1.0, 2.0), (3.0, 6.0)), Times((1.0, 2.0), (3.0, 3.0))]
    assert winograd_limits.loss(NOT_CHOSEN, rounds) == 0
    assert math.isclose(winograd_limits.loss(CHOSEN, rounds), 6.5 / 4 - 1)
    assert math.isclose(winograd_limits.loss(forward_only, rounds), (2 + 3) / 4 - 1)


def test_a_ratio_above_1_means_that_winograds_algorithm_is_faster():
    assert winograd_limits.ratio([(4.0, 2.0), (9.0, 3.0), (1.0, 1.0)]) == 2


def test_the_grid_has_shapes_of_both_choices_and_both_kernels():
    shapes = winograd_limits.shapes()
    assert {(shape.taps, shape.chosen(gradient=False)) for shape in shapes} == {
        *((taps, number) for taps in (3, 5) for number in range(2))
    }


def test_both_algorithms_are_timed_in_each_round():
    rounds = winograd_limits.measure(CHOSEN, rounds=2, seconds=0.01)
    assert len(rounds) == 2
    for times in rounds:
        assert all(0 < seconds < 1 for pair in times for seconds in pair)
