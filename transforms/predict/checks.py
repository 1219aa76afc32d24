"""What is checked of a classifier before it labels: that its head was read correctly and its precision suffices."""

import math

import numpy as np

from transforms.records import Predictions

IDENTITY_TOLERANCE = 1e-3  # of logits against the model's own, relative, in float32
LOGIT_TOLERANCE = 0.1  # by which the class that comes first in a narrow precision may be behind in float32
MAP_TOLERANCE = 0.05  # of maps in a narrow precision against float32, relative to the range of the map


def trial_images(side_px: int) -> np.ndarray:
    """Returns (4, side, side, 3) uint8: smooth noise, more like photographs than white noise is."""
    import cv2

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    return np.stack([cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_CUBIC) for image in coarse])


def head_error(logits: np.ndarray, outputs: np.ndarray, softmax: bool) -> float:
    """Returns by how much the logits that a head makes of the features differ from the model's own outputs.

    Where the head is linear they are the means of the class maps plus the biases. Outputs of softmax are compared by
    their logarithms where they are not tiny, up to a constant for each image, which softmax drops.

    Args:
      logits, outputs: (n, classes).
      softmax: whether the outputs are probabilities.

    Returns:
      The largest difference, relative to the largest logit; infinity where the numbers of classes differ.
    """
    if logits.shape != outputs.shape:
        return math.inf
    if not softmax:
        return float(np.abs(logits - outputs).max() / max(np.abs(outputs).max(), 1e-6))
    shown = outputs > 1e-6
    difference = np.where(shown, logits - np.log(np.maximum(outputs, 1e-6)), np.nan)
    spread = np.nanmax(difference, axis=1) - np.nanmin(difference, axis=1)
    return float(spread.max() / max(np.abs(logits).max(), 1e-6))


def precision_error(got: Predictions, reference: Predictions) -> str | None:
    """Compares predictions in a narrow precision with float32; returns what is wrong with them, if anything.

    Args:
      reference: in float32, with logits; its last class is the first of `got`.
    """
    assert reference.logits is not None
    lost_logit = (reference.logits.max(axis=1) - reference.logit[:, -1]).max()  # 0 where the top class is the same
    expected = reference.cams[:, -1]
    # a constant map has no range: a thousandth of its value stands for it
    spread = np.maximum(np.ptp(expected, axis=(1, 2)), 1e-3 * np.abs(expected).max(axis=(1, 2)) + 1e-12)
    error = (np.abs(got.cams[:, 0] - expected).max(axis=(1, 2)) / spread).max()
    if lost_logit <= LOGIT_TOLERANCE and error <= MAP_TOLERANCE:
        return None
    return f"maps by {error:.0%} of their range, the top logit by {lost_logit:.2f}"
