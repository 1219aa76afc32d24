"""Compares two models on the same images: which rows belong together, and how far classes and boxes agree."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.report.figures import histogram
from pipeline.report.rows import Rows
from pipeline.rows.predictions import paired_ious

_DIFFERENCES = 8


class Pairs(NamedTuple):
    """The rows of another output beside those of this one; (n,) arrays, n the rows of this output.

    Attributes:
      found: bool, whether the other output has a row of the same image.
      row: int64, the place of that row in the other output.
      class_index: int64, what the other model predicts, as an index of this model's classes where these have the same
        name, else beyond them.
      probability: float32 of that class, NaN if there is no row.
      iou: float32 of the two best boxes, NaN unless both rows have one.
      names: of the classes of both models, by index.
      num_only_other: rows of the other output whose image is not in this one.
    """

    found: np.ndarray
    row: np.ndarray
    class_index: np.ndarray
    probability: np.ndarray
    iou: np.ndarray
    names: dict[int, str]
    num_only_other: int

    def differs(self, rows: Rows) -> np.ndarray:
        """(n,) bool: both models have the image, and see different classes in it."""
        return self.found & (self.class_index != rows.class_index)


def pair(rows: Rows, other: Rows, names: list[str], other_names: list[str]) -> Pairs:
    """Finds for each row the other output's row of the same encoded image, whatever its name or shard.

    Args:
      names, other_names: of the two models' classes.
    """
    found = np.isin(rows.image, other.image)
    order = np.argsort(other.image, kind="stable")
    theirs = order[np.searchsorted(other.image, rows.image[found], sorter=order)]
    first_new = max(len(names), int(rows.label.max(initial=0)) + 1)  # a label may lie beyond the model's classes
    translation, all_names = _common_classes(names, other_names, first_new)
    row, class_index = np.zeros(len(found), np.int64), np.zeros(len(found), np.int64)
    probability, iou = np.full(len(found), np.nan, np.float32), np.full(len(found), np.nan, np.float32)
    row[found], class_index[found] = theirs, translation[other.class_index[theirs]]
    probability[found] = other.probability[theirs]
    iou[found] = paired_ious(rows.box_px[found], other.box_px[theirs])
    only_other = int((~np.isin(other.image, rows.image)).sum())
    return Pairs(found, row, class_index, probability, iou, all_names, only_other)


def compare_models(rows: Rows, pairs: Pairs, class_keys: np.ndarray) -> dict[str, Any]:
    """Returns the figures of the comparison, for JSON. Places are those in class_keys."""
    both, differs = pairs.found, pairs.differs(rows)
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
        # who agrees with the label: both models, this one alone, the other alone, neither
        "verdicts": [
            int((labelled & (rows.agrees == this) & (other_agrees == that)).sum())
            for this, that in ((True, True), (True, False), (False, True), (False, False))
        ],
        "differences": [[*kinds[i].tolist(), int(counts[i])] for i in most],
    }


def _common_classes(names: list[str], others: list[str], first_new: int) -> tuple[np.ndarray, dict[int, str]]:
    """Finds the other model's classes among ours, by index and name, else by a name that only one of ours has.

    Returns:
      Our index of each of the other's, (other classes,) int64, from `first_new` on for what we lack; the names of all.
    """
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_name.setdefault(name, []).append(index)
    translation, everything = first_new + np.arange(len(others)), dict(enumerate(names))
    for index, name in enumerate(others):
        same = by_name.get(name, [])
        if index in same:
            translation[index] = index
        elif len(same) == 1:
            translation[index] = same[0]
        else:
            everything[first_new + index] = name
    return translation, everything
