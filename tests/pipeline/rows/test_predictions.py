"""Lists of predictions as flat arrays, against the plain reading of the same lists."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.rows.predictions import FlatPredictions, corners, paired_ious
from tests.factories import labelled_batch, predictions
from transforms.output.schema import image_schema, image_table
from transforms.output.settings import OutputSettings
from transforms.records import Box


def box(x0: float) -> Box:
    return Box(x0, 0.0, x0 + 10.0, 20.0, score=0.5, area_frac=0.1)


BOXES = [[[box(1), box(2)], []], [[], []], [[], [box(3)]], [[box(4)], [box(5), box(6), box(7)]]]


def column(keep_cams: bool = True) -> pa.ListArray:
    """The predictions of four rows, two classes each but for the second row, which has one; as a part of a column."""
    found = predictions(4, top_k=2)
    found.present[1, 1] = False  # a place that holds no class gets no entry
    batch = labelled_batch(4, predictions=found, boxes=BOXES)
    table = image_table(batch, [f"class {i}" for i in range(8)], image_schema({}, OutputSettings()), keep_cams)
    rows = table["predictions"].combine_chunks()
    return pa.concat_arrays([rows, rows]).slice(2, 5)  # rows 2, 3, 0, 1, 2


def test_entries_are_those_of_the_lists_in_their_order():
    flat, lists = FlatPredictions(column()), column().to_pylist()
    entries = [(row, entry) for row, list_of_row in enumerate(lists) for entry in list_of_row]
    assert flat.row.tolist() == [row for row, _ in entries] == [0, 0, 1, 1, 2, 2, 3, 4, 4]
    for name in ("class_index", "probability", "rank"):
        assert getattr(flat, name).tolist() == [entry[name] for _, entry in entries]


def test_boxes_are_those_of_the_entries():
    flat = FlatPredictions(column())
    assert flat.boxes.entry.tolist() == [1, 2, 3, 3, 3, 4, 4, 8]
    assert flat.boxes.corners[:, 0].tolist() == [3, 4, 5, 6, 7, 1, 2, 3]
    assert flat.boxes.corners[0].tolist() == [3, 0, 13, 20]
    assert set(flat.boxes.score.tolist()) == {0.5}


def test_the_first_box_of_some_entries():
    found = FlatPredictions(column()).first_boxes(np.array([3, 0, 4]))
    np.testing.assert_array_equal(found, [[5, 0, 15, 20], [np.nan] * 4, [1, 0, 11, 20]])
    assert FlatPredictions(column()).first_boxes(np.array([], int)).shape == (0, 4)


def test_maps_have_their_shape_or_are_missing():
    maps = FlatPredictions(column()).maps(np.array([8, 2]))
    assert [cam.shape for cam in maps] == [(7, 7), (7, 7)]
    np.testing.assert_array_equal(maps[0], predictions(4, top_k=2).cams[2, 1])
    assert FlatPredictions(column(keep_cams=False)).maps(np.array([8, 2])) == [None, None]


def test_no_rows():
    flat = FlatPredictions(column().slice(0, 0))
    assert len(flat.row) == len(flat.rank) == len(flat.boxes.score) == 0
    assert flat.first_boxes(np.array([], int)).shape == (0, 4)
    assert flat.maps(np.array([], int)) == []


def test_corners_of_what_may_be_missing():
    found = corners(pa.array([{"x0": 1.0, "y0": 2.0, "x1": 3.0, "y1": 4.0}, None]))
    np.testing.assert_array_equal(found, [[1, 2, 3, 4], [np.nan] * 4])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_iou_of_pairs_takes_ends_as_outside(kind):
    a = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 1, 1], [0, 0, 0, 0], [np.nan] * 4], kind)
    b = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [1, 0, 2, 1], [0, 0, 0, 0], [0, 0, 1, 1]], kind)
    # 8 / (16 + 16 - 8); boxes that touch, and empty ones, have nothing in common
    np.testing.assert_allclose(paired_ious(a, b), [1, 1 / 3, 0, 0, np.nan], rtol=1e-6)
