"""Which boxes of the rows are exported: by thresholds, by class, the best of each class; and the split."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.rows.classes import Classes
from pipeline.rows.predictions import FlatPredictions, prediction_columns
from transforms.errors import UserError

COLUMNS = ("width", "height", *prediction_columns("class_index", "probability", "rank", "boxes"))


@dataclass(frozen=True)
class Selection:
    """What an export takes of an output.

    Attributes:
      min_probability: of a box's class: every class of an image that reaches it is taken. None takes the most probable
        class of each image, whatever its probability.
      min_box_score: of a box.
      min_consistency: of an image; an image whose consistency was not measured is left out.
      top_per_class: how many boxes of each class are taken at most, those with the highest scores.
      validation_fraction: share of the images that go to the validation split, chosen by a hash of their bytes.
      keep_empty: also takes images without any selected box.
    """

    min_probability: float | None = None
    min_box_score: float = 0.0
    min_consistency: float | None = None
    top_per_class: int | None = None
    validation_fraction: float = 0.0
    keep_empty: bool = False

    def __post_init__(self) -> None:
        for name in ("min_probability", "min_box_score", "min_consistency"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"--{name.replace('_', '-')} must lie in [0, 1], got {value}")
        if not 0 <= self.validation_fraction < 1:
            raise UserError(f"--validation-fraction must lie in [0, 1), got {self.validation_fraction}")
        if self.top_per_class is not None and self.top_per_class < 1:
            raise UserError(f"--top-per-class must be at least 1, got {self.top_per_class}")

    @property
    def splits(self) -> list[str]:
        """The names of the splits."""
        return ["train", "val"] if self.validation_fraction else ["train"]

    def split(self, sha256: str) -> str:
        """Returns the split of an image: always the same for the same bytes, whatever else is exported."""
        return "val" if int(sha256[:16], 16) < self.validation_fraction * 2**64 else "train"


class SelectedBoxes(NamedTuple):
    """b boxes of a batch of rows, in the order of the rows, the most probable class of each first.

    Attributes:
      row: (b,) int64 place of the row in the batch.
      class_id: (b,) int32, the export's own index.
      probability, score: (b,) float32.
      corners: (b, 4) float32 x0, y0, x1, y1, inside the image and never empty.
    """

    row: np.ndarray
    class_id: np.ndarray
    probability: np.ndarray
    score: np.ndarray
    corners: np.ndarray

    def take(self, chosen: np.ndarray) -> "SelectedBoxes":
        """Returns some of the boxes: by a mask, or by their places."""
        return SelectedBoxes(*(values[chosen] for values in self))


def select_boxes(batch: pa.RecordBatch, selection: Selection, classes: Classes) -> SelectedBoxes:
    """Returns the boxes of a batch of rows that reach the thresholds, clipped to their images.

    Where several of the model's classes become one of the user's, an image's boxes of that class are those of the most
    probable of them: maps of similar classes show the same object, which would be boxed twice.
    """
    predictions = FlatPredictions(batch["predictions"])
    row, entry = predictions.row, predictions.boxes.entry
    taken = classes.taken[predictions.class_index]
    if selection.min_probability is None:
        taken &= predictions.rank == 0
    else:
        taken &= predictions.probability >= np.float32(selection.min_probability)
    if selection.min_consistency is not None:
        consistency = batch["consistency"].to_numpy(zero_copy_only=False)  # NaN if not measured
        taken &= consistency[row] >= np.float32(selection.min_consistency)
    class_id = classes.class_id[predictions.class_index]
    taken &= _first_of_its_kind(row, class_id, taken, len(classes.names))
    size = np.stack([batch["width"], batch["height"]] * 2, axis=1).astype(np.float32)
    corners, score = predictions.boxes.corners.clip(0, size[row[entry]]), predictions.boxes.score
    kept = taken[entry] & (score >= np.float32(selection.min_box_score))
    kept &= (corners[:, 2:] > corners[:, :2]).all(axis=1)
    return SelectedBoxes(row[entry], class_id[entry], predictions.probability[entry], score, corners).take(kept)


def _first_of_its_kind(row: np.ndarray, class_id: np.ndarray, taken: np.ndarray, num_classes: int) -> np.ndarray:
    """Marks the first of the taken predictions of each row and class, which is the most probable."""
    first = np.zeros(len(row), bool)
    positions = np.flatnonzero(taken)
    _, index = np.unique(row[positions] * num_classes + class_id[positions], return_index=True)
    first[positions[index]] = True
    return first


class Best:
    """The boxes with the highest scores of each class in a stream that is read twice, here and in `of`.

    Boxes are identified by their number in the stream; of equal scores the earlier is better.

    Args:
      per_class: how many boxes of each class to keep.
      buffered: how many boxes to gather before the worse ones are dropped.
    """

    def __init__(self, per_class: int, stream: Iterable[SelectedBoxes], buffered: int = 1 << 20):
        self._per_class = per_class
        self._class_id, self._score, self._number = np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, int)
        pending: list[SelectedBoxes] = []
        seen = waiting = 0
        for boxes in stream:
            pending.append(boxes)
            waiting += len(boxes.score)
            if waiting >= buffered:
                seen = self._take(pending, seen)
                pending, waiting = [], 0
        self._take(pending, seen)
        self._number.sort()
        self._passed = 0

    def _take(self, pending: list[SelectedBoxes], seen: int) -> int:
        """Adds boxes, keeps the best of all so far, and returns how many were seen."""
        self._class_id = np.concatenate([self._class_id, *(boxes.class_id for boxes in pending)])
        self._score = np.concatenate([self._score, *(boxes.score for boxes in pending)])
        new = len(self._score) - len(self._number)
        self._number = np.concatenate([self._number, np.arange(seen, seen + new)])
        order = np.lexsort((self._number, -self._score, self._class_id))
        ordered = self._class_id[order]
        place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        best = order[place < self._per_class]
        self._class_id, self._score, self._number = self._class_id[best], self._score[best], self._number[best]
        return seen + new

    def of(self, boxes: SelectedBoxes) -> SelectedBoxes:
        """Returns the best among the next boxes of the same stream."""
        start, self._passed = self._passed, self._passed + len(boxes.score)
        low, high = np.searchsorted(self._number, [start, self._passed])
        return boxes.take(self._number[low:high] - start)
