"""The Beam step from class maps to boxes."""

import functools
import time
from dataclasses import dataclass

import apache_beam as beam
import numpy as np

from transforms.locate.boxes import find_boxes, iou, to_original
from transforms.locate.settings import BoxSettings
from transforms.records import Box, ShardBatch
from transforms.worker.background import then
from transforms.worker.threads import map_in_pieces, thread_pool


@dataclass
class LocateObjects(beam.PTransform):
    """Adds the boxes of every class of every image to a batch."""

    settings: BoxSettings

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        work = functools.partial(locate_batch, settings=self.settings)
        return batches | "FindBoxes" >> beam.Map(then, work).with_output_types(ShardBatch)


def locate_batch(batch: ShardBatch, settings: BoxSettings) -> ShardBatch:
    """Returns the batch with its boxes."""
    if not batch.images:
        return batch
    started = time.perf_counter()
    predictions = batch.labelled

    def locate(row: int) -> list[list[Box]]:
        return [
            [to_original(box, batch.images[row], float(probability)) for box in find_boxes(cam, settings)]
            for cam, probability in zip(predictions.cams[row], predictions.probability[row], strict=True)
        ]

    pool = thread_pool("render")
    boxes = map_in_pieces(locate, range(len(batch)), pool)
    pairs = () if predictions.mirror_pair is None else predictions.mirror_pair
    consistency = map_in_pieces(lambda pair: agreement(pair[0], pair[1], settings), pairs, pool)
    return batch.after("locate", started, boxes=boxes, consistency=consistency)


def agreement(cam: np.ndarray, mirrored: np.ndarray, settings: BoxSettings) -> float | None:
    """Returns the intersection over union of the largest boxes of two maps; None where one of them has no box.

    Args:
      cam, mirrored: (h, w) float32 raw class maps, of an image and of its mirror image, mirrored back.
      settings: how the boxes are found.
    """
    one, other = find_boxes(cam, settings), find_boxes(mirrored, settings)
    return iou(one[0], other[0]) if one and other else None
