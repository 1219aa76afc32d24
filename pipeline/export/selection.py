"""Which boxes of the rows are taken: thresholds, classes, the best of each class, and the split."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.rows.classes import Classes
from transforms.errors import UserError

_PREDICTION_FIELDS = ("class_index", "probability", "rank", "boxes")
COLUMNS = ("width", "height", *(f"predictions.list.element.{field}" for field in _PREDICTION_FIELDS))
_BUFFERED = 1 << 20  # boxes beyond those that are sure to stay, before the worse ones are dropped


@dataclass(frozen=True)
class Selection:
    """What an export takes of an output.

    Attributes:
      min_probability: of a box's class. None takes the most probable class of an image, whatever its probability; a
        number takes every class that the output holds for the image and that reaches it.
      min_box_score: of a box.
      min_consistency: of an image; those that were not measured do not reach it.
      top_per_class: boxes of each of the export's classes, those of the highest score.
      validation_fraction: of the images, by a hash of their bytes.
      keep_empty: takes images too of which no box is taken.
    """

    min_probability: float | None = None
    min_box_score: float = 0.0
    min_consistency: float | None = None
    top_per_class: int | None = None
    validation_fraction: float = 0.0
    keep_empty: bool = False

    def __post_init__(self):
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
        """The names of the parts that the images are dealt to."""
        return ["train", "val"] if self.validation_fraction else ["train"]

    def split(self, sha256: str) -> str:
        """Returns the part of an image: always the same for the same bytes, whatever else is exported."""
        return "val" if int(sha256[:16], 16) < self.validation_fraction * 2**64 else "train"


class Boxes(NamedTuple):
    """n boxes of a batch of rows, in the order of the rows, the most probable class of each first.

    Attributes:
      row: (n,) the row in the batch.
      class_id: (n,) int32, the export's index.
      probability, score: (n,) float32.
      corners: (n, 4) float32 x0, y0, x1, y1, inside the image and never empty.
    """

    row: np.ndarray
    class_id: np.ndarray
    probability: np.ndarray
    score: np.ndarray
    corners: np.ndarray

    def select(self, chosen) -> "Boxes":
        """Returns some of the boxes."""
        return Boxes(*(values[chosen] for values in self))


def find_boxes(batch: pa.RecordBatch, selection: Selection, classes: Classes) -> Boxes:
    """Returns the boxes of a batch of rows that reach the thresholds, clipped to their images.

    Where several of the model's classes become one of the user's, an image's boxes of that class are those of the most
    probable of them: maps of kin classes show the same object, which would be boxed twice.
    """
    lists = batch["predictions"]
    predictions = lists.flatten()
    row = pc.list_parent_indices(lists).to_numpy()
    class_index, probability, rank = (
        pc.struct_field(predictions, name).to_numpy(zero_copy_only=False) for name in _PREDICTION_FIELDS[:3]
    )
    class_id = classes.lookup[class_index]
    taken = class_id >= 0
    taken &= rank == 0 if selection.min_probability is None else probability >= np.float32(selection.min_probability)
    if selection.min_consistency is not None:
        consistency = pc.fill_null(batch["consistency"], -1.0).to_numpy(zero_copy_only=False)
        taken &= consistency[row] >= np.float32(selection.min_consistency)
    taken &= _first_of_its_kind(row, class_id, taken, len(classes.names))
    box_lists = pc.struct_field(predictions, "boxes")
    parent = pc.list_parent_indices(box_lists).to_numpy()
    boxes = box_lists.flatten()
    x0, y0, x1, y1, score = (pc.struct_field(boxes, name).to_numpy() for name in ("x0", "y0", "x1", "y1", "score"))
    width, height = (batch[name].to_numpy()[row[parent]] for name in ("width", "height"))
    corners = np.stack([x0.clip(0, width), y0.clip(0, height), x1.clip(0, width), y1.clip(0, height)], axis=1)
    kept = taken[parent] & (score >= np.float32(selection.min_box_score))
    kept &= (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    found = Boxes(row[parent], class_id[parent], probability[parent], score, corners.astype(np.float32))
    return found.select(kept)


def _first_of_its_kind(row, class_id, taken, num_classes: int) -> np.ndarray:
    """Tells which predictions are the first taken one of their row and class; rows list the most probable first."""
    first = np.zeros(len(row), bool)
    positions = np.flatnonzero(taken)
    _, index = np.unique(row[positions] * num_classes + class_id[positions], return_index=True)
    first[positions[index]] = True
    return first


class Best:
    """The boxes of the highest score of each class, of a stream of boxes that is gone through twice.

    Boxes are told apart by their number in the stream; of equal scores the earlier is better. Holds `per_class` boxes
    of each class, and a million more. The stream is given once to find the best, then batch by batch to `of`.
    """

    def __init__(self, per_class: int, stream: Iterable[Boxes]):
        self._per_class = per_class
        self._class_id, self._score, self._number = np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, int)
        pending: list[Boxes] = []
        seen = waiting = 0
        for boxes in stream:
            pending.append(boxes)
            waiting += len(boxes.score)
            if waiting >= _BUFFERED:
                seen = self._take(pending, seen)
                pending, waiting = [], 0
        self._take(pending, seen)
        self._number.sort()
        self._passed = 0

    def _take(self, pending: list[Boxes], seen: int) -> int:
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

    def of(self, boxes: Boxes) -> Boxes:
        """Returns the best among the next boxes of the same stream."""
        start, self._passed = self._passed, self._passed + len(boxes.score)
        low, high = np.searchsorted(self._number, [start, self._passed])
        return boxes.select(self._number[low:high] - start)
