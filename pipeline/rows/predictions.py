"""The predictions of rows, in Parquet a list of structs per row, as flat arrays."""

import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_CORNERS = ("x0", "y0", "x1", "y1")


def prediction_columns(*fields: str) -> list[str]:
    """Returns the columns to read from Parquet for these fields of the predictions, and no others."""
    return [f"predictions.list.element.{field}" for field in fields]


def corners(boxes: pa.StructArray | pa.ChunkedArray) -> np.ndarray:
    """Returns the corners of boxes: (n, 4) float32 x0, y0, x1, y1; NaN where there is no box."""
    return np.stack([pc.struct_field(boxes, name).to_numpy(zero_copy_only=False) for name in _CORNERS], axis=1)


def paired_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes with exclusive x1/y1, pair by pair: (n, 4), (n, 4) -> (n,); NaN gives NaN."""
    shared = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2]).prod(axis=1) + (b[:, 2:] - b[:, :2]).prod(axis=1) - shared
    return shared / np.where(union > 0, union, 1)


class FlatBoxes(NamedTuple):
    """The boxes of m entries, in their order, the best of each first.

    Attributes:
      entry: (b,) int64, which entry each box belongs to, ascending.
      corners: (b, 4) float32 x0, y0, x1, y1, in pixels of the original image.
      score: (b,) float32.
    """

    entry: np.ndarray
    corners: np.ndarray
    score: np.ndarray


class FlatPredictions:
    """The predictions of n rows: each of the m entries is one class of one row.

    Entries are in the order of the rows, the most probable class of each row first. Fields are unpacked on their first
    use, so only those in use need to have been read.

    Args:
      column: the rows' `predictions`.

    Attributes:
      row: (m,) int64, which row each entry belongs to, ascending.
    """

    def __init__(self, column: pa.ListArray):
        self._structs = column.flatten()
        self.row = pc.list_parent_indices(column).to_numpy()

    @functools.cached_property
    def class_index(self) -> np.ndarray:
        """(m,) int32."""
        return self._numbers("class_index")

    @functools.cached_property
    def probability(self) -> np.ndarray:
        """(m,) float32."""
        return self._numbers("probability")

    @functools.cached_property
    def rank(self) -> np.ndarray:
        """(m,) int32 of the class among all the model's, 0 for the most probable."""
        return self._numbers("rank")

    @functools.cached_property
    def boxes(self) -> FlatBoxes:
        """The boxes of all entries."""
        lists = self._structs.field("boxes")
        structs = lists.flatten()
        entry = pc.list_parent_indices(lists).to_numpy()
        return FlatBoxes(entry, corners(structs), structs.field("score").to_numpy())

    def first_boxes(self, entries: np.ndarray) -> np.ndarray:
        """Returns the first, the best, box of each of k entries: (k, 4) float64 as `corners`; NaN if it has none."""
        boxes = self.boxes
        found = np.full((len(entries), 4), np.nan)
        has_box = np.isin(entries, boxes.entry)
        found[has_box] = boxes.corners[np.searchsorted(boxes.entry, entries[has_box])]
        return found

    def maps(self, entries: np.ndarray) -> list[np.ndarray | None]:
        """Returns the raw map of each of k entries, (h, w) float32; None if it was not kept."""
        cams = self._structs.field("cam").take(pa.array(entries))
        heights, widths = (self._numbers(name)[entries].tolist() for name in ("cam_height", "cam_width"))
        offsets, values = cams.offsets.to_numpy().tolist(), cams.values.to_numpy()
        return [
            values[start:stop].reshape(height, width) if stop > start else None
            for start, stop, height, width in zip(offsets, offsets[1:], heights, widths, strict=False)
        ]

    def _numbers(self, name: str) -> np.ndarray:
        return self._structs.field(name).to_numpy()
