"""The published localisation scorer's rules: contours, boxes, intersection over union (Choe et al., CVPR 2020, 3).

They are those of MaxBoxAcc's reference implementation, quirks included: maps become 256 levels, contours are compared
by the area of their polygon, holes have contours too, x1 and y1 are the first pixels outside but count as inside.
"""

import re
from typing import NamedTuple

import cv2
import numpy as np

from transforms.errors import UserError
from transforms.locate import normalize as cams

SIDE_PX = 224  # of maps as they are scored
IOU_THRESHOLDS = (0.3, 0.5, 0.7)
LARGEST_CONTOUR, ALL_CONTOURS = 0, 1
_LEVELS = 255
_IVR = re.compile(r"ivr:\d*\.?\d+")


class Normalization(NamedTuple):
    """How a raw map is brought into [0, 1]: "minmax", "max", "pas", or "ivr" with its percentile."""

    name: str
    percentile: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Normalization":
        """Reads "minmax", "max", "pas" or "ivr:PERCENTILE".

        Raises:
          UserError: anything else.
        """
        if text in ("minmax", "max", "pas"):
            return cls(text)
        if _IVR.fullmatch(text) and float(text[4:]) < 100:
            return cls("ivr", float(text[4:]))
        raise UserError(f"a normalization is minmax, max, pas or ivr:PERCENTILE (in [0, 100)), got {text!r}")

    def __str__(self) -> str:
        return f"ivr:{self.percentile:g}" if self.name == "ivr" else self.name

    def apply(self, cam: np.ndarray) -> np.ndarray:
        """Returns an (h, w) float32 map in [0, 1]; a constant one is all zero."""
        return cams.normalize(cam, self.name, self.percentile)


def scorer_pixels(boxes: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Moves true boxes to the scorer's 224x224 pixels.

    The scorer's x1/y1 are the last pixels inside, at the image's own size, before the coordinates are scaled and cut
    to integers; of a box that ends between two pixels they are the last that it touches.

    Args:
      boxes: (n, 4) x0, y0, x1, y1, in pixels of the image, x1/y1 exclusive.
      views: (n, 4) the part of each box's image that the map shows; the whole image is 0, 0, width, height.

    Returns:
      (n, 4) int64, x1/y1 inclusive; what lies outside the view stays outside of 0 to 223.
    """
    origin, size = np.tile(views[:, :2], 2), np.tile(views[:, 2:] - views[:, :2], 2)
    inclusive = np.concatenate([boxes[:, :2], np.ceil(boxes[:, 2:]) - 1], axis=1)
    return np.floor((inclusive - origin) * SIDE_PX / size).astype(np.int64)


def inclusive_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs of boxes whose x1/y1 are inside: (n, 4), (m, 4) int -> (n, m) float64."""
    starts = np.maximum(a[:, None, :2], b[None, :, :2])
    ends = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.maximum(ends - starts + 1, 0).prod(axis=2)
    area_a = (a[:, 2:] - a[:, :2] + 1).prod(axis=1)
    area_b = (b[:, 2:] - b[:, :2] + 1).prod(axis=1)
    return both / (area_a[:, None] + area_b - both)


def contour_boxes(score_map: np.ndarray, thresholds: np.ndarray) -> list[np.ndarray]:
    """Finds the boxes of a map's contours at every threshold.

    Args:
      score_map: (h, w) in [0, 1].
      thresholds: (t,) shares of the map's maximum.

    Returns:
      For each threshold (k, 4) int64 x0, y0, x1, y1, the box of the contour of largest area first; [[0, 0, 0, 0]] where
      nothing lies above the threshold.

    Raises:
      ValueError: the map holds NaN, or a value outside [0, 1].
    """
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise ValueError(f"a map must lie in [0, 1], got [{score_map.min()}, {score_map.max()}]")
    image = np.multiply(score_map, _LEVELS, dtype=np.float64).astype(np.uint8)
    levels = (thresholds * int(image.max())).astype(int).tolist()
    found = {level: _boxes_above(image, level) for level in dict.fromkeys(levels)}
    return [found[level] for level in levels]


def _boxes_above(image: np.ndarray, level: int) -> np.ndarray:
    height, width = image.shape
    mask = cv2.threshold(image, level, 255, cv2.THRESH_BINARY)[1]
    contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    if not contours:
        return np.zeros((1, 4), np.int64)
    rectangles = [cv2.boundingRect(contour) for contour in contours]
    boxes = [(x, y, min(x + w, width - 1), min(y + h, height - 1)) for x, y, w, h in rectangles]
    areas = [cv2.contourArea(contour) for contour in contours]
    largest = areas.index(max(areas))
    boxes[0], boxes[largest] = boxes[largest], boxes[0]
    return np.array(boxes, np.int64)


def ious_by_threshold(score_map: np.ndarray, truth: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns how well a map's boxes meet the best of the true boxes, at every threshold.

    Args:
      score_map: (224, 224) in [0, 1].
      truth: (m, 4) int, the image's true boxes, from `scorer_pixels`.
      thresholds: (t,) shares of the map's maximum.

    Returns:
      (2, t) float64: of the largest contour's box (MaxBoxAcc), of the best of all contours' boxes (MaxBoxAccV2).
    """
    boxes = contour_boxes(score_map, thresholds)
    starts = np.cumsum([0, *(len(found) for found in boxes[:-1])])
    ious = inclusive_iou(np.concatenate(boxes), truth).max(axis=1)
    return np.stack([ious[starts], np.maximum.reduceat(ious, starts)])


def iou_thresholds_met(ious: np.ndarray) -> np.ndarray:
    """Counts how many of IOU_THRESHOLDS each value reaches: any shape float64 -> the same shape uint8."""
    return np.searchsorted(IOU_THRESHOLDS, ious, side="right").astype(np.uint8)
