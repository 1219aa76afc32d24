"""How a batch is cut for the device: into pieces that run at the same time, or into pieces of one size."""

import logging
import math
from collections.abc import Callable

import numpy as np

from transforms.predict.engine import Labels
from transforms.records import Predictions
from transforms.worker.threads import num_cores, thread_pool

_MIN_PIECE = 8  # images; smaller pieces cost more than the parallelism gains
_logger = logging.getLogger("cambeam")

Predict = Callable[[np.ndarray, Labels], Predictions]


def in_parallel(predict: Predict, pixels: np.ndarray, labels: Labels) -> Predictions:
    """Labels pieces of a batch in parallel, one thread each.

    On processors that is faster than one piece with several threads per operation, and keeps all cores busy, however
    many shards are in work.
    """
    length = max(_MIN_PIECE, math.ceil(len(pixels) / num_cores()))
    if length >= len(pixels):
        return predict(pixels, labels)
    pieces = [slice(start, start + length) for start in range(0, len(pixels), length)]
    found = thread_pool("predict").map(
        predict, (pixels[piece] for piece in pieces), (labels[piece] for piece in pieces)
    )
    return Predictions.concatenate(list(found))


class OneSize:
    """Labels a batch in pieces of one size, as GPUs compile for one shape; of half the size once memory ran out."""

    def __init__(self, predict: Predict, length: int, out_of_memory: type[Exception]):
        """Takes what labels a piece, the number of images in a piece, and the error which says that they do not fit."""
        self._predict, self._length, self._out_of_memory = predict, length, out_of_memory

    def __call__(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        done: list[Predictions] = []
        start = 0
        while start < len(pixels):
            length = self._length
            piece = slice(start, start + length)
            count = len(pixels[piece])
            missing = length - count
            padded = np.pad(pixels[piece], [(0, missing)] + [(0, 0)] * 3)
            try:
                found = self._predict(padded, [*labels[piece], *[None] * missing])
            except self._out_of_memory:
                if length == 1:
                    raise
                self._length = min(self._length, length // 2)
                _logger.warning("%d images do not fit into the GPU's memory, trying %d", length, self._length)
                continue
            done.append(found.select(slice(count)))
            start += count
        return Predictions.concatenate(done)
