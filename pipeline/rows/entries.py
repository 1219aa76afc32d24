"""The predictions of a batch of rows, a list of structs per row in Parquet, as flat arrays."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ABSENT = -1
_CORNERS = ("x0", "y0", "x1", "y1")


class Entries:
    """The predicted classes of n rows, one after the other: an entry is one class of one row.

    Args:
      column: the rows' `predictions`.
      class_names: tells classes by their place in this list; None tells them by class index.
    """

    def __init__(self, column: pa.ListArray, class_names: list[str] | None):
        offsets = column.offsets.to_numpy()
        self._structs = column.values.slice(offsets[0], offsets[-1] - offsets[0])
        self._num_rows = len(column)
        self._row = np.repeat(np.arange(len(column)), np.diff(offsets))
        self._class_index = self._field("class_index").to_numpy()
        self._label = self._class_index
        if class_names is not None:
            found = pc.index_in(self._field("class_name"), pa.array(class_names, pa.string()))
            self._label = found.fill_null(ABSENT).to_numpy()

    def find(self, row: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Returns the entry of each row's label, (n,) int64, or ABSENT."""
        return self._find(self._label, row, label)

    def own_label(self, class_index: np.ndarray) -> np.ndarray:
        """Translates each row's own class index to a label, (n,); ABSENT where the row has no such prediction."""
        entry = self._find(self._class_index, np.arange(self._num_rows), class_index)
        return np.where(entry == ABSENT, ABSENT, np.append(self._label, ABSENT)[entry])

    def rank(self, entries: np.ndarray) -> np.ndarray:
        """Returns the ranks of entries."""
        return self._field("rank").to_numpy()[entries]

    def class_names(self, entries: np.ndarray) -> list[str]:
        """Returns the class names of entries."""
        return self._field("class_name").take(pa.array(entries)).to_pylist()

    def first_boxes(self, entries: np.ndarray) -> np.ndarray:
        """Returns (n, 4) float64, the first box of each entry; NaN where it has none."""
        lists = self._field("boxes").take(pa.array(entries))
        has_box = pc.fill_null(pc.list_value_length(lists), 0).to_numpy() > 0
        structs = lists.values.take(pa.array(lists.offsets.to_numpy()[:-1][has_box]))
        boxes = np.full((len(entries), 4), np.nan)
        boxes[has_box] = np.stack([structs.field(name).to_numpy() for name in _CORNERS], axis=1)
        return boxes

    def maps(self, entries: np.ndarray) -> list[np.ndarray | None]:
        """Returns the raw map of each entry, (h, w) float32; None where it was not kept."""
        cams = self._field("cam").take(pa.array(entries))
        heights, widths = (self._field(name).to_numpy()[entries].tolist() for name in ("cam_height", "cam_width"))
        offsets, values = cams.offsets.to_numpy().tolist(), cams.values.to_numpy()
        return [
            values[start:stop].reshape(height, width) if stop > start else None
            for start, stop, height, width in zip(offsets, offsets[1:], heights, widths, strict=False)
        ]

    def _field(self, name: str) -> pa.Array:
        return self._structs.field(name)

    def _find(self, classes: np.ndarray, row: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        by_row = np.full(self._num_rows, ABSENT, np.int64)
        by_row[row] = wanted
        entry = np.full(self._num_rows, ABSENT, np.int64)
        matches = np.flatnonzero((classes == by_row[self._row]) & (classes != ABSENT))
        entry[self._row[matches]] = matches
        return entry[row]
