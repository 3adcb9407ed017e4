"""Centred differences, the third witness: no gradient is derived for them."""

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
    """Returns how far a gradient is from a centred difference along a random direction v.

    .. math:: |(L(w + h v) - L(w - h v)) / 2 h - g . v| / max(sum over i of |g_i v_i|, floor |v|_1)

    The denominator is what the derivative would be if none of its terms cancelled. A direction
    that crosses a kink (of a ReLU or a maximum) is drawn again. It has length 1, and half of that
    after every ten draws: a network has hundreds of thousands of kinks, and some of its layers
    move so many of them that hardly a direction of length 1 crosses none.

    Kinks are looked for in the loss alone: where it is smooth, its values at 5 points from w - h v
    to w + h v lie on a parabola, but for rounding, and their third differences are 0. A kink that
    changes the centred difference by d makes one of them at least h d / 2, wherever it is. That
    half the step gives the same centred difference would not do: a kink near w bends both alike.

    Args:
      loss: in float64.
      point, gradient: the arrays that are moved together, and the loss's gradients by them.
      tolerance: of the result; a third difference is 0 if it would change that by a tenth of it.
      floor: the smallest value of a gradient that counts.

    Returns:
      NaN where all directions cross a kink, or rounding hides the parabola.
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
        least = sum(float(np.abs(v).sum()) for v in direction.values()) * floor
        scale = max(scale, least, np.finfo(float).tiny)
        bend = float(np.abs(np.diff(losses, 3)).max()) / (2 * STEP)
        if bend <= tolerance / 10 * scale:
            found = (losses[-1] - losses[0]) / (2 * STEP)
            expected = sum(float(term.sum()) for term in terms.values())
            return abs(found - expected) / scale
    return math.nan
