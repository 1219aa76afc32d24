"""Boxes from class activation maps: a threshold, connected components, bounding rectangles (Zhou et al. 2016, 3.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from transforms.locate.normalize import normalize, upsample
from transforms.locate.settings import BoxSettings
from transforms.records import Box, Image

MAP_SIDE_PX = 224  # maps are thresholded at this resolution, that of the published protocols


class MapBox(NamedTuple):
    """A rectangle in pixels of a map of 224x224, x1/y1 exclusive.

    Attributes:
      score: mean of the normalized map inside the box.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    score: float


def find_boxes(cam: np.ndarray, settings: BoxSettings) -> list[MapBox]:
    """Finds the objects of one class map: the bounding rectangles of what lies above a share of its maximum.

    Args:
      cam: (h, w) float32 raw class map.
      settings: the threshold, the normalization, and which components become boxes.

    Returns:
      The largest component's box first; none where the map is constant.
    """
    upsampled = upsample(cam, MAP_SIDE_PX, MAP_SIDE_PX)
    normalized = normalize(upsampled, settings.normalization, settings.ivr_percentile)
    mask = (normalized > settings.threshold_frac * normalized.max()).view(np.uint8)
    return [
        MapBox(x, y, x + w, y + h, float(normalized[y : y + h, x : x + w].mean()))
        for x, y, w, h in _components(mask, settings)
    ]


def _components(mask: np.ndarray, settings: BoxSettings) -> list[Sequence[int]]:
    """Returns the (x, y, width, height) of the components that become boxes, the largest first."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    if len(outlines) < 2:  # as in nine maps of ten: one component without holes, and its area does not matter
        return [cv2.boundingRect(outline) for outline in outlines]
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_16U)  # 2.5 times as fast
    stats = stats[1:]  # the first is the background
    order = np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable")
    large = [i for i in order[1:] if stats[i, cv2.CC_STAT_AREA] >= settings.min_area_frac * MAP_SIDE_PX**2]
    chosen = [*order[:1], *large] if settings.components == "all" else order[:1]
    return stats[chosen, : cv2.CC_STAT_AREA].tolist()


def to_original(box: MapBox, image: Image, probability: float) -> Box:
    """Moves a box of the map into the image's own pixels, and weighs its score with the probability of its class."""
    left, top, right, bottom = image.view
    # multiplied first: 224 * 225 / 224 is 225, but 224 * (225 / 224) lies outside the image
    x0, x1 = (left + x * (right - left) / MAP_SIDE_PX for x in (box.x0, box.x1))
    y0, y1 = (top + y * (bottom - top) / MAP_SIDE_PX for y in (box.y0, box.y1))
    area_frac = (x1 - x0) * (y1 - y0) / (image.width * image.height)
    return Box(x0, y0, x1, y1, box.score * probability, area_frac)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1, ...) with exclusive x1/y1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
