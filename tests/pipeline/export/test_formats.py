"""Every format, opened by the tools that it is for."""

import contextlib
import io
import os
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pandas
import pytest
import yaml

from pipeline import cli
from pipeline.export.formats.coco import annotate
from pipeline.export.formats.format import Format
from pipeline.export.formats.records import ExportBox
from pipeline.export.formats.registry import FORMATS, load_format
from pipeline.export.formats.voc import whole_pixels
from pipeline.export.formats.yolo import label_line
from tests.exported import CLASS_NAMES, Labelled, hash_of, png, read_json, write_output

# 40x30 pixels; the second box reaches beyond the image on the right, the third is wholly outside of it
IMAGES = [
    Labelled("a", [(0, 0.9, [(4.0, 6.0, 20.0, 21.0, 0.8)])]),
    Labelled("b.v2", [(2, 0.8, [(10.5, 3.25, 55.0, 29.75, 0.7)])]),
    Labelled("c", [(1, 0.7, [(50.0, 40.0, 60.0, 50.0, 0.6)])]),
    Labelled("d & <e>", [(1, 0.6, [(0.0, 0.0, 40.0, 30.0, 0.5), (1.5, 2.0, 3.0, 4.0, 0.4)])]),
]


@pytest.fixture
def export(tmp_path):
    output = write_output(tmp_path, {"shard-1": IMAGES[:2], "shard-2": IMAGES[2:]}, as_files=True)

    def run(format: str, *options: str):
        folder = tmp_path / format
        assert cli.main(["export", "--predictions", output, "--format", format, "--output", str(folder), *options]) == 0
        return folder

    return run


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_in_the_list_has_a_module(name):
    assert isinstance(load_format(name), Format)


def test_coco_opens_in_pycocotools_and_equals_itself(export):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = export("coco", "--images", "link", "--keep-empty")
    path = folder / "annotations" / "instances_train.json"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        found = truth.loadRes([annotation | {"id": 0} for annotation in truth.dataset["annotations"]])
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)  # AP over IoU 0.5 to 0.95
    assert [category["name"] for category in truth.loadCats(truth.getCatIds())] == CLASS_NAMES
    boxes = {annotation["image_id"]: annotation for annotation in reversed(truth.dataset["annotations"])}
    assert boxes[1]["bbox"] == [4.0, 6.0, 16.0, 15.0]  # x, y, 20 - 4, 21 - 6
    assert boxes[1]["score"] == pytest.approx(0.8)
    assert boxes[2]["bbox"] == [10.5, 3.25, 29.5, 26.5]  # clipped at x 40
    assert 3 not in boxes  # nothing of it lies in the image
    for image in truth.dataset["images"]:
        assert os.path.isfile(folder / "images" / "train" / image["file_name"])


def test_yolo_opens_in_supervision(export):
    import supervision

    folder = export("yolo", "--images", "copy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = supervision.DetectionDataset.from_yolo(
            str(folder / "images" / "train"), str(folder / "labels" / "train"), str(folder / "data.yaml")
        )
    assert dataset.classes == CLASS_NAMES
    found = {os.path.basename(path): detections for path, _, detections in dataset}
    assert found.keys() == {"a.png", "b.v2.png", "d _ _e_.png"}
    np.testing.assert_allclose(found["a.png"].xyxy, [[4, 6, 20, 21]], atol=1e-3)
    np.testing.assert_allclose(found["b.v2.png"].xyxy, [[10.5, 3.25, 40, 29.75]], atol=1e-3)
    assert found["b.v2.png"].class_id.tolist() == [2]
    listed = (folder / "images.txt").read_text().splitlines()
    assert all(os.path.isfile(folder / path) for path in listed)
    assert len(listed) == 3
    assert yaml.safe_load((folder / "data.yaml").read_text())["val"] == "images/train"  # no split was asked for


def test_yolo_adds_the_score_where_asked(export):
    folder = export("yolo", "--confidence")
    # centre (4 + 20) / 2 / 40 and (6 + 21) / 2 / 30, size 16 / 40 and 15 / 30
    assert (folder / "labels/train/a.txt").read_text() == "0 0.300000 0.450000 0.400000 0.500000 0.800000\n"


def test_voc_opens_in_supervision(export):
    import supervision

    folder = export("voc", "--images", "copy", "--validation-fraction", "0.5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = supervision.DetectionDataset.from_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
    found = {os.path.basename(path): detections for path, _, detections in dataset}
    np.testing.assert_array_equal(found["a.png"].xyxy, [[4, 6, 20, 21]])  # whole pixels come back as they were
    np.testing.assert_array_equal(found["b.v2.png"].xyxy, [[10, 3, 40, 30]])  # the pixels that the box touches
    listed = "".join((folder / "ImageSets/Main" / f"{split}.txt").read_text() for split in ("train", "val"))
    assert sorted(listed.splitlines()) == sorted(name.removesuffix(".png") for name in found)
    root = ET.parse(folder / "Annotations" / "b.v2.xml").getroot()
    assert root.findtext("object/name") == "sparrow, house sparrow"
    assert [root.findtext(f"size/{key}") for key in ("width", "height", "depth")] == ["40", "30", "3"]


def test_webdataset_opens_with_the_original_bytes(export):
    import webdataset

    folder = export("webdataset", "--keep-empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(webdataset.WebDataset(str(folder / "train-000000.tar"), shardshuffle=False).decode("rgb"))
    assert [sample["__key__"] for sample in samples] == ["a", "b_v2", "c", "d _ _e_"]  # a key ends at the first dot
    assert samples[0]["png"].shape == (30, 40, 3)
    assert samples[0]["json"]["class_name"] == "cat"
    assert samples[0]["json"]["boxes"][0]["x1"] == 20.0
    assert samples[1]["json"]["image_id"] == "b.v2"
    assert samples[2]["json"]["class_index"] is None
    assert samples[2]["json"]["boxes"] == []


def test_csv_opens_in_pandas(export):
    table = pandas.read_csv(export("csv", "--keep-empty") / "boxes.csv")
    assert table["image_id"].tolist() == ["a", "b.v2", "c", "d & <e>", "d & <e>"]
    assert table["x1"].tolist()[:2] == [20.0, 40.0]
    assert table["class_name"].isna().tolist() == [False, False, True, False, False]


def _box(x0, y0, x1, y1) -> ExportBox:
    return ExportBox(0, "cat", 0.9, 0.5, x0, y0, x1, y1)


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((0, 0, 40, 30), (1, 1, 40, 30)),  # the whole image
        ((3, 4, 4, 5), (4, 5, 4, 5)),  # one pixel
        ((3.2, 4.2, 3.4, 4.4), (4, 5, 4, 5)),  # less than one
        ((39.9, 29.9, 40, 30), (40, 30, 40, 30)),
    ],
)
def test_voc_pixels_count_from_one_and_include_the_last(box, pixels):
    assert whole_pixels(_box(*box)) == pixels


def test_tiny_boxes_are_never_empty():
    box = _box(5.001, 5.001, 5.0011, 5.0011)
    assert min(annotate(box)["bbox"][2:]) > 0
    assert min(float(number) for number in label_line(box, 10_000, 10_000).split()[3:]) > 0


def test_voc_escapes_what_xml_cannot_hold(tmp_path, capsys):
    output = write_output(tmp_path, {"shard": [Labelled("x", [(0, 0.9, [(1, 1, 9, 9, 0.5)])])]}, as_files=True)
    classes = tmp_path / "mine.json"
    classes.write_text('{"cat": "<b>&\\u0001\\"cat\\""}')
    arguments = ["--predictions", output, "--format", "voc", "--output", str(tmp_path / "voc")]
    assert cli.main(["export", *arguments, "--classes", str(classes)]) == 0
    root = ET.parse(tmp_path / "voc/Annotations/x.xml").getroot()
    assert root.findtext("object/name") == '<b>&\ufffd"cat"'


def test_copies_are_the_original_bytes(export):
    folder = export("coco", "--images", "copy")
    names = [image["file_name"] for image in read_json(folder / "annotations/instances_train.json")["images"]]
    assert len(names) == 3
    assert (folder / "images/train/a.png").read_bytes() == png(hash_of(IMAGES[0]))
