"""Two models on the same images: which rows belong together, where the models differ, how much their boxes do."""

from typing import NamedTuple

import numpy as np

from pipeline.report.figures import histogram
from pipeline.report.rows import Rows

_DIFFERENCES = 8


class Pairs(NamedTuple):
    """The rows of another output beside those of this one; (n,) arrays, n the rows of this output.

    Attributes:
      row: int64, the place in the other output of the row of the same image; -1 where it has none.
      class_index: int32, what the other model predicts, as an index of this model's classes where these have the
        same name, else beyond them; -1 where there is no row.
      probability: float32, NaN where there is no row.
      iou: float32, of the two best boxes; NaN unless both rows have one.
      names: of the classes of both models, by index.
      num_only_other: rows of the other output whose image this one lacks.
    """

    row: np.ndarray
    class_index: np.ndarray
    probability: np.ndarray
    iou: np.ndarray
    names: dict[int, str]
    num_only_other: int

    def differs(self, rows: Rows) -> np.ndarray:
        """(n,) bool: both models have the image, and see different classes in it."""
        return (self.row >= 0) & (self.class_index != rows.class_index)


def pair(rows: Rows, other: Rows) -> Pairs:
    """Finds for each row the other output's row of the same encoded image, whatever its name or shard."""
    order = np.argsort(other.image, kind="stable")
    place = np.searchsorted(other.image, rows.image, sorter=order)
    candidate = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(rows.image), np.int64)
    found = other.image[candidate] == rows.image if len(order) else np.zeros(len(rows.image), bool)
    theirs, names = _common_classes(rows.names, other.names)
    translate = np.array([theirs.get(i, -1) for i in range(max(theirs, default=0) + 1)], np.int32)
    row = np.where(found, candidate, -1)
    if not found.any():
        missing = np.full(len(row), np.nan, np.float32)
        return Pairs(row, np.full(len(row), -1, np.int32), missing, missing, names, len(other.image))
    return Pairs(
        row,
        np.where(found, translate[other.class_index[candidate]], -1),
        np.where(found, other.probability[candidate], np.nan),
        np.where(found, ious(rows.box_px, other.box_px[candidate]), np.nan),
        names,
        int((~np.isin(other.image, rows.image)).sum()),
    )


def ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) with exclusive x1/y1, row by row: (n,); NaN where one is NaN."""
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    both = sides.prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both
    return both / np.where(union > 0, union, 1)


def figures(rows: Rows, other: Rows, pairs: Pairs, class_keys: np.ndarray) -> dict:
    """What the comparison comes to, for JSON. Places are those in class_keys."""
    both, differs = pairs.row >= 0, pairs.differs(rows)
    with_boxes = np.isfinite(pairs.iou)
    labelled = both & rows.labelled
    other_agrees = labelled & (rows.label == pairs.class_index)
    kinds, counts = np.unique(
        np.searchsorted(class_keys, np.stack([rows.class_index[differs], pairs.class_index[differs]], 1)),
        axis=0,
        return_counts=True,
    )
    most = np.argsort(-counts, kind="stable")[:_DIFFERENCES]
    return {
        "both": int(both.sum()),
        "onlyThis": int((~both).sum()),
        "onlyOther": pairs.num_only_other,
        "sameClass": int((both & ~differs).sum()),
        "withBoxes": int(with_boxes.sum()),
        "meanIou": round(float(pairs.iou[with_boxes].mean()), 4) if with_boxes.any() else None,
        "iou": histogram(pairs.iou, ~differs, differs),
        "probability": [*histogram(rows.probability, both), *histogram(pairs.probability)],
        "labelled": int(labelled.sum()),
        # by the label: both models agree with it, this alone, the other alone, neither
        "verdicts": [
            int((labelled & (rows.agrees == this) & (other_agrees == that)).sum())
            for this, that in ((True, True), (True, False), (False, True), (False, False))
        ],
        "differences": [[*kinds[i].tolist(), int(counts[i])] for i in most],
    }


def _common_classes(names: dict[int, str], others: dict[int, str]) -> tuple[dict[int, int], dict[int, str]]:
    """Finds the other model's classes among ours, by index and name, else by a name that only one of ours has.

    Returns:
      Our index of each of the other's, new ones beyond ours for what we lack; and the names of all.
    """
    by_name: dict[str, list[int]] = {}
    for index, name in names.items():
        by_name.setdefault(name, []).append(index)
    ours, everything = {}, dict(names)
    beyond = max([*names, *others], default=-1) + 1
    for index, name in others.items():
        same = by_name.get(name, [])
        if index in same:
            ours[index] = index
        elif len(same) == 1:
            ours[index] = same[0]
        else:
            ours[index] = beyond + index
            everything[beyond + index] = name
    return ours, everything
