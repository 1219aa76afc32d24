"""Which boxes are taken: against the plain definition, on random streams."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from pipeline.export.selection import Best, SelectedBoxes, Selection, select_boxes
from pipeline.rows.classes import Classes
from transforms.output.schema import image_schema
from transforms.output.settings import OutputSettings

ALL_CLASSES = Classes(["cat", "dog"], np.ones(2, bool), np.arange(2, dtype=np.int32))


def _boxes(class_id, score) -> SelectedBoxes:
    count = len(score)
    numbers = np.arange(count)
    return SelectedBoxes(
        numbers, np.asarray(class_id, np.int32), np.ones(count), np.asarray(score, np.float32), numbers
    )


@pytest.mark.parametrize("seed", range(5))
def test_best_takes_the_highest_scores_however_the_stream_is_cut(seed):
    rng = np.random.default_rng(seed)
    class_id, score = rng.integers(0, 4, 200), rng.integers(0, 20, 200) / 20  # with many equal scores
    cuts = [0, *sorted(rng.integers(0, 200, 12)), 200]
    stream = [_boxes(class_id[a:b], score[a:b]) for a, b in itertools.pairwise(cuts)]
    best = Best(7, iter(stream), buffered=10)  # so that the worse ones are dropped on the way
    taken = [start + row for start, boxes in zip(cuts[:-1], stream, strict=True) for row in best.of(boxes).row]
    expected = [
        number for kind in range(4) for number in sorted(np.flatnonzero(class_id == kind), key=lambda i: -score[i])[:7]
    ]  # sorted() is stable: of equal scores the earlier is better
    assert taken == sorted(expected)


def _batch(*boxes_of_images: list) -> pa.RecordBatch:
    corners = ("x0", "y0", "x1", "y1", "score")
    rows = [
        {
            "width": 40,
            "height": 30,
            "predictions": [
                {
                    "class_index": 0,
                    "probability": 0.9,
                    "rank": 0,
                    "boxes": [dict(zip(corners, box, strict=True)) for box in boxes],
                }
            ],
        }
        for boxes in boxes_of_images
    ]
    schema = image_schema({}, OutputSettings(), thumbnails=False)
    schema = pa.schema([schema.field(name) for name in ("width", "height", "predictions")])
    return pa.RecordBatch.from_pylist(rows, schema)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((-5, -6, 100, 100), [(0, 0, 40, 30)]),
        ((39, 29, 50, 50), [(39, 29, 40, 30)]),
        ((40, 0, 50, 30), []),  # begins where the image ends
        ((5, 5, 5, 9), []),
        ((9, 5, 5, 9), []),
        ((float("nan"), 0, 10, 10), []),
    ],
)
def test_boxes_are_clipped_and_never_empty(box, clipped):
    found = select_boxes(_batch([], [(*box, 0.5)]), Selection(), ALL_CLASSES)
    assert [tuple(corners) for corners in found.corners.tolist()] == clipped
    assert found.row.tolist() == [1] * len(clipped)


def test_no_rows_and_no_boxes():
    for batch in (_batch(), _batch([], [])):
        assert len(select_boxes(batch, Selection(min_probability=0.0), ALL_CLASSES).score) == 0


def test_split_is_a_share_of_the_range_of_hashes():
    halves = Selection(validation_fraction=0.5)
    assert halves.split("7" + "f" * 63) == "val"  # just below the middle
    assert halves.split("8" + "0" * 63) == "train"
    assert Selection().split("0" * 64) == "train"
