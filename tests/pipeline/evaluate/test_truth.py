import json

import numpy as np
import pytest

from pipeline.evaluate.truth import TruthError, read_truth

HEADER = "image_id,label,x0,y0,x1,y1\n"


def write(folder, content, name="boxes.csv"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def boxes_of(truth, name):
    i = truth.names.index(name)
    return truth.boxes[truth.first_box[i] : truth.first_box[i + 1]].tolist()


def test_rows_of_an_image_need_not_follow_each_other(tmp_path):
    truth = read_truth(write(tmp_path, HEADER + "a,3,0,0,1,1\nb,5,0,0,2,2.5\n\na,3,4,4,5,5\n"))
    assert truth.names == ["a", "b"]
    assert boxes_of(truth, "a") == [[0, 0, 1, 1], [4, 4, 5, 5]]
    assert boxes_of(truth, "b") == [[0, 0, 2, 2.5]]
    assert (truth.label.tolist(), truth.several_classes.tolist()) == ([3, 5], [False, False])


def test_columns_are_found_by_name(tmp_path):
    truth = read_truth(write(tmp_path, "\ufefflabel,y1,x1,y0,x0,split,image_id\n7,4,3,2,1,val,a/b\n"))
    assert boxes_of(truth, "a/b") == [[1, 2, 3, 4]]


def test_an_image_may_have_several_classes(tmp_path):
    truth = read_truth(write(tmp_path, HEADER + "a,3,0,0,1,1\na,2,0,0,2,2\na,3,0,0,3,3\n"))
    assert truth.several_classes.tolist() == [True]
    assert sorted(truth.box_label.tolist()) == [2, 3, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: no column 'image_id'"),
        ("image_id,label,x0,y0,x1\n", "line 1: no column 'y1'"),
        (HEADER, "has no boxes"),
        (HEADER + "a,3,0,0,1,1\na,3,0,0,1\n", "line 3: expected at least 6 values, got 5"),
        (HEADER + "a,cat,0,0,1,1\n", "line 2: label must be a class index, 0 or more, got 'cat'"),
        (HEADER + "a,-1,0,0,1,1\n", "line 2: label must be a class index, 0 or more, got '-1'"),
        (HEADER + "a,3,0,0,one,1\n", "line 2: x0, y0, x1, y1 must be numbers, got '0,0,one,1'"),
        (HEADER + "a,3,5,0,5,1\n", "line 2: a box needs 0 <= x0 < x1 and 0 <= y0 < y1, got 5, 0, 5, 1"),
        (HEADER + "a,3,nan,0,5,1\n", "line 2: a box needs"),
        (HEADER + "a,3,0,0,inf,1\n", "line 2: a box needs"),
    ],
)
def test_the_first_bad_line_is_named(tmp_path, content, message):
    with pytest.raises(TruthError, match=r"(?s)^[^\n]*$") as error:
        read_truth(write(tmp_path, content))
    assert message in str(error.value)


def coco(**changes):
    return {
        "images": [{"id": 10, "file_name": "x/a.jpg"}, {"id": 11, "file_name": "b.png"}],
        "categories": [{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": [
            {"image_id": 11, "category_id": 7, "bbox": [1, 2, 10, 20]},
            {"image_id": 10, "category_id": 90, "bbox": [0, 0, 5, 5]},
            {"image_id": 10, "category_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
    } | changes


def test_coco_classes_are_names_and_crowds_are_left_out(tmp_path):
    truth = read_truth(write(tmp_path, coco(), "coco.json"))
    assert truth.class_names == ["dog", "cat"]
    assert boxes_of(truth, "x/a.jpg") == [[0, 0, 5, 5]]
    assert boxes_of(truth, "b.png") == [[1, 2, 11, 22]]
    assert [truth.class_names[label] for label in truth.label] == ["cat", "dog"]  # in the order of the annotations


def test_rows_may_call_an_image_file_by_its_name_without_the_ending(tmp_path):
    truth = read_truth(write(tmp_path, coco(), "coco.json"))
    positions = truth.positions()
    assert positions["x/a"] == positions["x/a.jpg"] == truth.names.index("x/a.jpg")


def test_a_csv_name_is_verbatim(tmp_path):
    truth = read_truth(write(tmp_path, HEADER + "v1.2,3,0,0,1,1\nv1.3,3,0,0,1,1\n"))
    assert truth.positions() == {"v1.2": 0, "v1.3": 1}


def test_two_images_that_differ_in_the_ending_only_are_an_error(tmp_path):
    images = [{"id": 10, "file_name": "a.jpg"}, {"id": 11, "file_name": "a.png"}]
    truth = read_truth(write(tmp_path, coco(images=images), "coco.json"))
    with pytest.raises(TruthError, match="both call 'a'"):
        truth.positions()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not COCO JSON"),
        ([], "is not COCO JSON"),
        ({"images": []}, "is not COCO JSON: KeyError: 'categories'"),
        (coco(annotations=[{"image_id": 12, "category_id": 7, "bbox": [0, 0, 1, 1]}]), "annotation 0: KeyError: 12"),
        (coco(annotations=[{"image_id": 10, "category_id": 7, "bbox": [0, 0, 0, 1]}]), "annotation 0: a box needs"),
        (coco(annotations=[3]), "annotation 0: TypeError"),
    ],
)
def test_what_is_wrong_in_coco_is_named(tmp_path, content, message):
    with pytest.raises(TruthError) as error:
        read_truth(write(tmp_path, content, "coco.json"))
    assert message in str(error.value)


def test_a_missing_file_is_one_line():
    with pytest.raises(TruthError, match=r"can't read the truth 'nowhere\.csv'"):
        read_truth("nowhere.csv")


def test_arrays_hold_the_boxes(tmp_path):
    truth = read_truth(write(tmp_path, HEADER + "".join(f"i{n},0,0,0,{n + 1},1\n" for n in range(5))))
    assert truth.first_box.tolist() == [0, 1, 2, 3, 4, 5]
    assert truth.boxes.dtype == np.float64
