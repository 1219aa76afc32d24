"""Boxes from class activation maps: a threshold, connected components, bounding rectangles (Zhou et al. 2016, 3.2)."""

import dataclasses
import time
from dataclasses import dataclass

import apache_beam as beam
import cv2
import numpy as np

from transforms.locate import normalize as cams
from transforms.records import Box, Image, ShardBatch
from transforms.worker import metrics
from transforms.worker.threads import thread_pool

MAP_SIDE_PX = 224  # maps are thresholded at this resolution, that of the published protocols


def find_boxes(
    cam: np.ndarray,
    threshold_frac: float = 0.2,
    normalization: str = "minmax",
    components: str = "largest",
    min_area_frac: float = 0.01,
    ivr_percentile: float = cams.IVR_PERCENTILE,
) -> list[Box]:
    """Finds the objects of one class map: the bounding rectangles of what lies above a share of its maximum.

    Args:
      cam: (h, w) float32 raw class map.
      threshold_frac: of the normalised map's maximum.
      normalization: a key of `cam.NORMALIZATIONS`.
      components: "largest" gives one box, "all" one for every connected component that is large enough.
      min_area_frac: of the map; smaller components make no box, but the largest always does.
      ivr_percentile: of the map; what lies below is taken as 0 where the normalisation is "ivr".

    Returns:
      Boxes in pixels of a map of 224x224, the largest component's first, scored by the mean of the normalised map
      inside them; none where the map is constant.
    """
    normalized = cams.normalize(cams.upsample(cam, MAP_SIDE_PX, MAP_SIDE_PX), normalization, ivr_percentile)
    mask = (normalized > threshold_frac * normalized.max()).view(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_16U)  # 2.5 times as fast
    stats = stats[1:]  # the first is the background
    order = np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable")
    large = [i for i in order[1:] if stats[i, cv2.CC_STAT_AREA] >= min_area_frac * MAP_SIDE_PX**2]
    chosen = [*order[:1], *large] if components == "all" else order[:1]
    boxes = []
    for x, y, w, h, _ in stats[chosen].tolist():
        score = float(normalized[y : y + h, x : x + w].mean())
        boxes.append(Box(x, y, x + w, y + h, score, w * h / MAP_SIDE_PX**2))
    return boxes


def to_original(box: Box, image: Image, probability: float) -> Box:
    """Moves a box of the map into the image's own pixels, and weighs its score with the probability of its class."""
    left, top, right, bottom = image.view
    # multiplied first: 224 * 225 / 224 is 225, but 224 * (225 / 224) lies outside the image
    x0, x1 = (left + x * (right - left) / MAP_SIDE_PX for x in (box.x0, box.x1))
    y0, y1 = (top + y * (bottom - top) / MAP_SIDE_PX for y in (box.y0, box.y1))
    area_frac = (x1 - x0) * (y1 - y0) / (image.width * image.height)
    return Box(x0, y0, x1, y1, box.score * probability, area_frac)


@dataclass
class LocateObjects(beam.PTransform):
    """Adds the boxes of every class of every image to a batch. The parameters are those of `find_boxes`."""

    threshold_frac: float = 0.2
    normalization: str = "minmax"
    components: str = "largest"
    min_area_frac: float = 0.01
    ivr_percentile: float = cams.IVR_PERCENTILE

    def __post_init__(self):
        super().__init__()
        if not 0 < self.threshold_frac < 1:
            raise ValueError(f"threshold_frac must lie in (0, 1), got {self.threshold_frac}")
        if self.normalization not in cams.NORMALIZATIONS:
            raise ValueError(f"normalization must be one of {list(cams.NORMALIZATIONS)}, got {self.normalization!r}")
        if self.components not in ("largest", "all"):
            raise ValueError(f"components must be 'largest' or 'all', got {self.components!r}")
        if not 0 <= self.min_area_frac < 1:
            raise ValueError(f"min_area_frac must lie in [0, 1), got {self.min_area_frac}")
        if not 0 <= self.ivr_percentile < 100:
            raise ValueError(f"ivr_percentile must lie in [0, 100), got {self.ivr_percentile}")

    def expand(self, batches):
        settings = dataclasses.astuple(self)
        return batches | "FindBoxes" >> beam.Map(locate_batch, *settings).with_output_types(ShardBatch)


def locate_batch(batch: ShardBatch, *settings) -> ShardBatch:
    """Returns the batch with its boxes; `settings` are the parameters of `find_boxes` after the map."""
    if not batch.images:
        return batch
    started = time.perf_counter()
    predictions = batch.labelled

    def locate(row: int) -> list[list[Box]]:
        return [
            [to_original(box, batch.images[row], float(probability)) for box in find_boxes(cam, *settings)]
            for cam, probability in zip(predictions.cams[row], predictions.probability[row], strict=True)
        ]

    pool = thread_pool("render")
    boxes = list(pool.map(locate, range(len(batch))))
    views = predictions.views
    consistency = [] if views is None else list(pool.map(lambda both: agreement(*both, *settings), views))
    metrics.count("boxes_found", sum(len(of_class) for of_image in boxes for of_class in of_image))
    return metrics.timed(batch.after("locate", started, boxes=boxes, consistency=consistency), "locate")


def agreement(cam: np.ndarray, mirrored: np.ndarray, *settings) -> float | None:
    """Returns the intersection over union of the largest boxes of two maps; None where one of them has no box.

    Args:
      cam, mirrored: (h, w) float32 raw class maps, of an image and of its mirror image, mirrored back.
      settings: the parameters of `find_boxes` after the map.
    """
    one, other = find_boxes(cam, *settings), find_boxes(mirrored, *settings)
    return iou(one[0], other[0]) if one and other else None


def iou(a, b) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1, ...) with exclusive x1/y1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
