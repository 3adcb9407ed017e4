"""Centred differences, the third witness: no gradient is derived for them."""

import math
from collections.abc import Callable

import numpy as np

STEP = 1e-5
_DRAWS = 100

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

    The denominator is what the derivative would be if none of its terms cancelled. Half the step
    must give the same difference: a direction that crosses a kink (of a ReLU or a maximum) is
    drawn again.

    Args:
      loss: in float64.
      point, gradient: the arrays that are moved together, and the loss's gradients by them.
      tolerance: what two steps may differ by.
      floor: the smallest value of a gradient that counts.

    Returns:
      NaN where all directions cross a kink.
    """
    for _ in range(_DRAWS):
        direction = {name: rng.normal(size=array.shape) for name, array in point.items()}
        norm = math.sqrt(sum(float((v**2).sum()) for v in direction.values()))
        direction = {name: v / norm for name, v in direction.items()}

        def centred(step, direction=direction):
            ends = [
                loss({name: array + sign * step * direction[name] for name, array in point.items()})
                for sign in (1, -1)
            ]
            return (ends[0] - ends[1]) / (2 * step)

        terms = {name: gradient[name] * v for name, v in direction.items()}
        scale = sum(float(np.abs(term).sum()) for term in terms.values())
        least = sum(float(np.abs(v).sum()) for v in direction.values()) * floor
        scale = max(scale, least, np.finfo(float).tiny)
        found = centred(STEP)
        if abs(found - centred(STEP / 2)) <= tolerance * scale:
            expected = sum(float(term.sum()) for term in terms.values())
            return abs(found - expected) / scale
    return math.nan
