"""Scores many maps in worker processes. Imports neither Beam nor TensorFlow, which each of them would have to load."""

import collections
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from pipeline.evaluate import scoring
from transforms.errors import UserError
from transforms.locate import normalize as cams

_AHEAD_PER_WORKER = 2
Item = TypeVar("Item")


class MapBatch(NamedTuple):
    """Raw class maps of m images, with what they are judged by.

    Attributes:
      names: (m,) as the truth names the images.
      maps: (m,) arrays of (h, w) float32.
      truth: (m,) arrays of (k, 4) int, from `scoring.scorer_pixels`.
    """

    names: list[str]
    maps: list[np.ndarray]
    truth: list[np.ndarray]


class MapScorer(NamedTuple):
    """How each map is scored.

    Attributes:
      thresholds: (t,) shares of the maximum.
      normalizations: every map is scored with each of them.
      maps_folder: where maps are written, normalized with the first; None: nowhere.
    """

    thresholds: np.ndarray
    normalizations: list[scoring.Normalization]
    maps_folder: str | None = None

    def check_names(self, names: list[str]) -> None:
        """Refuses names of images whose maps would lie outside the folder.

        Raises:
          UserError: there is such a name.
        """
        for name in names:
            if os.path.isabs(name) or ".." in name.split("/"):
                raise UserError(f"--maps: {name!r} would lie outside the folder")

    def score(self, batch: MapBatch) -> np.ndarray:
        """Scores a batch.

        Returns:
          (m, normalizations, 2, t) uint8: how many of `scoring.IOU_THRESHOLDS` the box of the largest contour reaches,
          and the best box of all contours.
        """
        shape = (len(batch.maps), len(self.normalizations), 2, len(self.thresholds))
        met = np.zeros(shape, np.uint8)
        for row, (name, raw, truth) in enumerate(zip(*batch, strict=True)):
            large = cams.upsample(raw, scoring.SIDE_PX, scoring.SIDE_PX)
            for column, normalization in enumerate(self.normalizations):
                score_map = normalization.apply(large)
                met[row, column] = scoring.iou_thresholds_met(
                    scoring.ious_by_threshold(score_map, truth, self.thresholds)
                )
                if self.maps_folder and column == 0:
                    _save(self.maps_folder, name, score_map)
        return met


def _save(folder: str, name: str, score_map: np.ndarray) -> None:
    """Writes a map under the name, and in the type, that the reference scorer loads."""
    path = os.path.join(folder, f"{name}.npy")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    np.save(path, score_map.astype(np.float64))


def score_all(
    batches: Iterable[tuple[Item, MapBatch]], scorer: MapScorer, workers: int
) -> Iterator[tuple[Item, np.ndarray]]:
    """Scores batches in order, a few at a time; yields the item that came with each batch and the scores.

    Args:
      workers: how many processes; 1 stands for this process itself.
    """
    if workers == 1:
        for rows, batch in batches:
            yield rows, scorer.score(batch)
        return
    context = multiprocessing.get_context("spawn")  # a forked process would keep the locks of Arrow's threads
    pending: collections.deque = collections.deque()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            for rows, batch in batches:
                pending.append((rows, pool.submit(scorer.score, batch)))
                if len(pending) > _AHEAD_PER_WORKER * workers:
                    yield _result(pending)
            while pending:
                yield _result(pending)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _result(pending: collections.deque) -> tuple:
    rows, future = pending.popleft()
    return rows, future.result()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the command, which stops its workers
    cv2.setNumThreads(1)
