"""Counts hits, per class and threshold, so that memory does not grow with the number of images."""

import hashlib
from enum import IntEnum

import numpy as np

from pipeline.evaluate.judge import JudgedRows
from pipeline.evaluate.scoring import ALL_CONTOURS, IOU_THRESHOLDS, LARGEST_CONTOUR

TOP_K = 5
_IOU = 0.5  # from here on a box counts as localised (Zhou et al. 2016, 3.2)
_MET_FOR_IOU = IOU_THRESHOLDS.index(_IOU) + 1


class Count(IntEnum):
    """What is counted for each class, once per image."""

    IMAGES = 0  # judged
    TOP1 = 1  # the true class is the most probable
    TOP5 = 2  # it is among the five most probable
    UNRANKED = 3  # it is not known whether it is among them
    BOXED = 4  # the true class is among the predictions, which have boxes
    OWN = 5  # the run's own first box of the true class is right
    OWN_TOP1 = 6  # and the class is right as well
    OWN_TOP5 = 7
    MAPPED = 8  # the map of the true class was kept


class Measure(IntEnum):
    """What is counted for each class at every threshold, of the images with a map."""

    LARGEST_IOU30 = 0  # the box of the largest contour
    LARGEST_IOU50 = 1
    LARGEST_IOU70 = 2
    ALL_IOU30 = 3  # the best of the boxes of all contours
    ALL_IOU50 = 4
    ALL_IOU70 = 5
    TOP1 = 6  # the largest contour's at IoU 0.5, and the class is right as well
    TOP5 = 7


class Tally:
    """Hits of c classes at t thresholds.

    Attributes:
      classes: (c,) the true classes, ascending.
      counts: (c, len(Count)) int64.
      curve: (c, len(Measure), t) int64.
    """

    def __init__(self, classes: np.ndarray, num_thresholds: int, top_k: int):
        """`top_k` is the number of most probable classes that every row has."""
        self.classes, self._top_k = classes, top_k
        self.counts = np.zeros((len(classes), len(Count)), np.int64)
        self.curve = np.zeros((len(classes), len(Measure), num_thresholds), np.int64)

    def add(self, rows: JudgedRows, met: np.ndarray) -> None:
        """Counts a piece; `met` is (m, 2, t) uint8 of the rows with a map, from `MapScorer.score`."""
        of = np.searchsorted(self.classes, rows.label)
        top1, top5 = rows.predicted & (rows.rank == 0), rows.predicted & (rows.rank < TOP_K)
        right = rows.own_iou >= _IOU
        hits = np.zeros((len(of), len(Count)), bool)
        hits[:, Count.IMAGES] = True
        hits[:, Count.TOP1], hits[:, Count.TOP5] = top1, top5
        hits[:, Count.UNRANKED] = ~rows.predicted & (self._top_k < TOP_K)
        hits[:, Count.BOXED] = rows.predicted
        hits[:, Count.OWN], hits[:, Count.OWN_TOP1], hits[:, Count.OWN_TOP5] = right, right & top1, right & top5
        hits[rows.with_map, Count.MAPPED] = True
        np.add.at(self.counts, of, hits)
        reached = met[:, :, None] > np.arange(len(IOU_THRESHOLDS))[:, None]
        localised = met[:, LARGEST_CONTOUR] >= _MET_FOR_IOU
        measures = np.concatenate(
            [reached[:, LARGEST_CONTOUR], reached[:, ALL_CONTOURS], np.zeros_like(reached[:, 0, :2])], axis=1
        )
        measures[:, Measure.TOP1] = localised & top1[rows.with_map, None]
        measures[:, Measure.TOP5] = localised & top5[rows.with_map, None]
        np.add.at(self.curve, of[rows.with_map], measures)


class TuningTally:
    """Hits of n normalizations at t thresholds, in two halves of the images.

    Attributes:
      mapped: (2,) images of each half.
      largest: (n, 2, t) hits of the largest contour's box at IoU 0.5.
      all_contours: (n, 3, t) hits of the best of all contours' boxes at each of IOU_THRESHOLDS.
    """

    def __init__(self, num_normalizations: int, num_thresholds: int):
        self.mapped = np.zeros(2, np.int64)
        self.largest = np.zeros((num_normalizations, 2, num_thresholds), np.int64)
        self.all_contours = np.zeros((num_normalizations, len(IOU_THRESHOLDS), num_thresholds), np.int64)

    def add(self, names: list[str], met: np.ndarray) -> None:
        """Counts a piece; `met` is (m, n, 2, t) uint8 from `MapScorer.score`, of the images with these names."""
        halves = np.array([half_of(name) for name in names], int)
        for half in (0, 1):
            self.mapped[half] += np.sum(halves == half)
            self.largest[:, half] += np.sum(met[halves == half, :, LARGEST_CONTOUR] >= _MET_FOR_IOU, axis=0)
        for i in range(len(IOU_THRESHOLDS)):
            self.all_contours[:, i] += np.sum(met[:, :, ALL_CONTOURS] > i, axis=0)


def half_of(name: str) -> int:
    """Returns the half that an image belongs to, 0 or 1, which depends on its name alone."""
    return hashlib.blake2b(name.encode(), digest_size=1).digest()[0] & 1
