"""Centred differences: a check of gradients that does not differentiate anything."""

import math
from collections.abc import Callable

import numpy as np

STEP = 1e-5
_DRAWS = 60
_DRAWS_PER_LENGTH = 10

Arrays = dict[str, np.ndarray]


def error(
    loss: Callable[[Arrays], float],
    point: Arrays,
    gradient: Arrays,
    rng: np.random.Generator,
    tolerance: float,
    floor: float = 0.0,
) -> float:
    """Returns the error of a gradient against a centred difference along a random direction v.

    .. math:: |(L(w + h v) - L(w - h v)) / 2 h - g . v| / max(sum over i of |g_i v_i|, floor |v|_1)

    The denominator is what the derivative would be if none of its terms cancelled. A direction
    that crosses a kink (of a ReLU or a maximum) is replaced by a new one. Directions have length 1,
    halved after every ten draws: a network has hundreds of thousands of kinks, and in some layers
    almost every direction of length 1 crosses one.

    Kinks are detected from the loss alone: where it is smooth, its values at 5 points from w - h v
    to w + h v lie on a parabola, up to rounding, and their third differences are 0. A kink that
    changes the centred difference by d makes one of them at least h d / 2, wherever it is.
    Comparing centred differences of two step sizes would not do: a kink near w changes both alike.

    Args:
      loss: the loss as a function of the arrays, in float64.
      point, gradient: the arrays, and the loss's gradients for them.
      tolerance: tolerance of the result; third differences that could change the result by at most
        a tenth of it are treated as 0.
      floor: gradients below this value are measured relative to it.

    Returns:
      The relative error; NaN if all directions cross a kink, or rounding hides the parabola.
    """
    for draw in range(_DRAWS):
        length = 0.5 ** (draw // _DRAWS_PER_LENGTH)
        direction = {name: rng.normal(size=array.shape) for name, array in point.items()}
        norm = math.sqrt(sum(float((v**2).sum()) for v in direction.values()))
        direction = {name: v * (length / norm) for name, v in direction.items()}

        losses = [
            loss({name: array + step * direction[name] for name, array in point.items()})
            for step in np.linspace(-STEP, STEP, 5)
        ]
        terms = {name: gradient[name] * v for name, v in direction.items()}
        scale = sum(float(np.abs(term).sum()) for term in terms.values())
        smallest_scale = sum(float(np.abs(v).sum()) for v in direction.values()) * floor
        scale = max(scale, smallest_scale, np.finfo(float).tiny)
        third_difference = float(np.abs(np.diff(losses, 3)).max()) / (2 * STEP)
        if third_difference <= tolerance / 10 * scale:
            difference = (losses[-1] - losses[0]) / (2 * STEP)
            expected = sum(float(term.sum()) for term in terms.values())
            return abs(difference - expected) / scale
    return math.nan
