"""Raw class maps to maps in [0, 1], at the resolution that they are wanted in."""

from collections.abc import Callable

import cv2
import numpy as np

_FLAT = 1e-30  # a map of a smaller range is constant; dividing by it would overflow


def upsample(cam: np.ndarray, width: int, height: int) -> np.ndarray:
    """(h, w) float32 -> (height, width) float32, bilinear on half-pixel centres.

    Bilinear interpolation is linear, so this equals the class map of the upsampled feature maps at 1/2048 of the cost.
    """
    return cv2.resize(cam, (width, height), interpolation=cv2.INTER_LINEAR)


def minmax(cam: np.ndarray) -> np.ndarray:
    """(h, w) -> (h, w) float32 in [0, 1]: the minimum becomes 0, the maximum 1. A constant map becomes all zero."""
    low, high = float(cam.min()), float(cam.max())
    return _scale(cam, low, high)


def max_only(cam: np.ndarray) -> np.ndarray:
    """(h, w) -> (h, w) float32 in [0, 1]: negative values become 0, the maximum 1. No positive value: all zero."""
    return _scale(np.maximum(cam, 0), 0.0, float(cam.max()))


def inferior_value_removal(cam: np.ndarray, percentile: float) -> np.ndarray:
    """(h, w) -> (h, w) float32 in [0, 1]: what lies below the percentile of the map becomes 0, the maximum 1.

    IVR of Kim et al., Normalization Matters in Weakly Supervised Object Localization, ICCV 2021, section 4.
    """
    low = _percentile(cam, percentile)
    return _scale(np.maximum(cam, low), low, float(cam.max()))


def percentile_as_standard(cam: np.ndarray, percentile: float = 95.0) -> np.ndarray:
    """(h, w) -> (h, w) float32 in [0, 1]: negative values become 0, the percentile of the map and what exceeds it 1.

    PaS of Bae et al., Rethinking Class Activation Mapping for Weakly Supervised Object Localization, ECCV 2020: the
    maximum of a map is one cell and swings with it, a percentile does not.
    """
    high = _percentile(cam, percentile)
    if not high > 0:  # what stands out is smaller than the percentile allows for
        high = float(cam.max())
    return _scale(np.clip(cam, 0, max(high, 0)), 0.0, high)


def _percentile(cam: np.ndarray, percentile: float) -> float:
    """Returns what `np.percentile` does for a float32 map, to the last bit, in a fifth of the time."""
    place = (cam.size - 1) * (percentile / 100)
    below = int(place)
    part = np.partition(cam, below, axis=None)
    low = part[below]
    high = part[below + 1 :].min(initial=np.inf) if below + 1 < cam.size else low
    share, step = place - below, high - low
    return float(high - step * (1 - share) if share >= 0.5 else low + step * share)


def _scale(cam: np.ndarray, low: float, high: float) -> np.ndarray:
    if not high - low > _FLAT:
        return np.zeros(cam.shape, np.float32)
    return ((cam - low) / (high - low)).astype(np.float32, copy=False)  # the maximum becomes 1 exactly


# name to function of a map and the percentile of "ivr", which the others pass over
NORMALIZATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "minmax": lambda cam, _: minmax(cam),
    "max": lambda cam, _: max_only(cam),
    "ivr": inferior_value_removal,
    "pas": lambda cam, _: percentile_as_standard(cam),
}


def normalize(cam: np.ndarray, normalization: str, ivr_percentile: float) -> np.ndarray:
    """(h, w) -> (h, w) float32 in [0, 1], by a key of NORMALIZATIONS; the percentile concerns "ivr" alone."""
    return NORMALIZATIONS[normalization](cam, ivr_percentile)
