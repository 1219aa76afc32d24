"""`cambeam evaluate` as a user runs it, on small outputs written with the real schema."""

import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.config import Config
from pipeline.evaluate.accuracy import tune
from pipeline.evaluate.map_scores import MapBatch, MapScorer, score_all
from pipeline.evaluate.scoring import Normalization
from pipeline.evaluate.tally import TuningTally, half_of
from tests.exported import commit
from transforms.output.layout import Layout
from transforms.output.schema import image_schema, image_table
from transforms.output.settings import OutputSettings
from transforms.records import Box, Image, Predictions, Shard, ShardBatch
from transforms.store import files as store

CLASSES = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen"]
SIDE_PX = 7


def blob(x0, y0, x1, y1):
    """A 7x7 map that is 1 inside and 0 outside."""
    cam = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    cam[y0:y1, x0:x1] = 1
    return cam


def row(image_id, label, ranking, cams, boxes, size=(70, 70)):
    """One image: its classes, most probable first (the label's last if its rank is given), their maps and boxes."""
    return image_id, label, ranking, cams, boxes, size


def write_output(folder, rows, shard_id="shard", keep_maps=True, class_names=CLASSES, **settings):
    """Adds a shard of rows of the same number of classes, as a run does."""
    config = Config.model_validate(settings).model_dump()
    schema = image_schema({"config": config, "fingerprint": "f"}, OutputSettings(), thumbnails=False)
    ids, labels, rankings, cams, boxes, sizes = zip(*rows, strict=True)
    images = [Image(ids[i], "uri", i, labels[i], *sizes[i], "", (0, 0, *sizes[i]), None) for i in range(len(rows))]
    count, k = len(rows), len(rankings[0])
    rank = np.array([[rank for _, rank in ranking] for ranking in rankings], np.int32)
    predictions = Predictions(
        class_index=np.array([[c for c, _ in ranking] for ranking in rankings], np.int32),
        probability=np.full((count, k), 0.1, np.float32),
        logit=np.zeros((count, k), np.float32),
        rank=rank,
        present=rank >= 0,
        cams=np.array(cams, np.float32),
    )
    found = [[[Box(*box, 1.0, 0.5)] if box else [] for box in row] for row in boxes]
    shard = Shard(shard_id, "uri", "webdataset", "1", 1)
    batch = ShardBatch(shard, 0, count, True, images, predictions=predictions, boxes=found)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    pq.write_table(image_table(batch, class_names, schema, keep_maps), folder / "images" / f"{shard_id}.parquet")
    layout = Layout(str(folder))
    store.write_json(layout.class_names, class_names, f"{layout.class_names}.part")
    commit(layout, shard, count)
    (folder / "_SUCCESS").touch()


def write_truth(folder, lines):
    path = folder / "truth.csv"
    path.write_text("image_id,label,x0,y0,x1,y1\n" + "".join(f"{line}\n" for line in lines))
    return path


def evaluate(tmp_path, *options, truth="truth.csv"):
    """Runs the command; returns what it wrote as JSON."""
    output = tmp_path / "evaluation"
    argv = ["evaluate", "--predictions", str(tmp_path / "labels"), "--truth", str(tmp_path / truth)]
    assert main([*argv, "--output", str(output), *options]) == 0
    return json.loads((output / "evaluation.json").read_text())


# --- an independent computation, after the reference scorer


def reference_hits(cam, truth_px, size, thresholds):
    """(2, 3, t) bool: largest and all contours, IoU 0.3, 0.5, 0.7, with inclusive true boxes in original pixels."""
    large = cv2.resize(cam, (224, 224))
    large = large - large.min()
    large = large / large.max()
    image = np.expand_dims((large.astype(np.float64) * 255).astype(np.uint8), 2)
    hits = np.zeros((2, 3, len(thresholds)), bool)
    scale = [224 / size[0], 224 / size[1]] * 2
    truth = [[int(v * s) for v, s in zip(box, scale, strict=True)] for box in truth_px]
    for t, threshold in enumerate(thresholds):
        _, mask = cv2.threshold(image, int(threshold * np.max(image)), 255, cv2.THRESH_BINARY)
        contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        chosen = [[max(contours, key=cv2.contourArea)], contours] if contours else [[], []]
        for way, some in enumerate(chosen):
            best = max((reference_iou(box, other) for box in map(reference_box, some) for other in truth), default=0)
            hits[way, :, t] = [best >= 0.3, best >= 0.5, best >= 0.7]
    return hits


def reference_box(contour):
    x, y, w, h = cv2.boundingRect(contour)
    return [x, y, min(x + w, 223), min(y + h, 223)]


def reference_iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    area_a, area_b = ((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return width * height / (area_a + area_b - width * height)


def test_equals_an_independent_computation_to_the_last_hit(tmp_path):
    generator = np.random.default_rng(5)
    rows, lines, hits, top1 = [], [], [], []
    thresholds = np.arange(0, 1, 0.05)
    for i in range(500):
        size = tuple(int(v) for v in generator.integers(40, 600, 2))
        cam = cv2.GaussianBlur(generator.normal(size=(7, 7)).astype(np.float32), (3, 3), generator.uniform(0.1, 1))
        truth_px = []
        for _ in range(generator.integers(1, 4)):
            x0, y0 = (int(generator.integers(0, side // 2)) for side in size)
            x1, y1 = (int(generator.integers(low + 5, side)) for low, side in zip((x0, y0), size, strict=True))
            truth_px.append([x0, y0, x1, y1])
            lines.append(f"image-{i},{i % 8},{x0},{y0},{x1 + 1},{y1 + 1}")
        x0, y0, x1, y1 = (v * 7 // size[j % 2] for j, v in enumerate(truth_px[0]))
        cam[y0 : y1 + 1, x0 : x1 + 1] += generator.uniform(0, 3)  # more or less where the object is
        rank = int(generator.integers(0, 7))
        rows.append(row(f"image-{i}", i % 8, [(i % 8, rank)], [cam], [None], size))
        hits.append(reference_hits(cam, truth_px, size, thresholds))
        top1.append(rank == 0)
    write_output(tmp_path / "labels", rows)
    write_truth(tmp_path, lines)
    result = evaluate(tmp_path)
    hits, top1 = np.array(hits), np.array(top1)
    expected = np.concatenate([hits[:, 0], hits[:, 1], (hits[:, 0, 1] & top1[:, None])[:, None]], axis=1).sum(axis=0)
    columns = [list(point.values())[1:8] for point in result["curve"]]
    assert np.array_equal(np.rint(np.array(columns).T * 500).astype(int), expected)
    assert result["overall"]["max_box_acc"] == expected[1].max() / 500
    assert result["overall"]["max_box_acc_v2"] == pytest.approx(expected[3:6].max(axis=1).mean() / 500)
    assert 0.2 < result["overall"]["max_box_acc"] < 0.8  # the comparison is not of zeros


# --- the measures, on a case to be checked by hand


@pytest.fixture
def five_images(tmp_path):
    """Five images of 70 px whose true object is the left upper 30 px of class 0 or 1, two classes predicted.

    | image | true class's rank | own box | map |
    | a     | 0                 | right   | right |
    | b     | 1                 | right   | wrong |
    | c     | 0                 | wrong   | right |
    | d     | 6 (include_label) | right   | right |
    | e     | absent            |         |       |
    """
    right, wrong, box, elsewhere = blob(0, 0, 3, 3), blob(5, 5, 7, 7), (0, 0, 30, 30), (50, 50, 70, 70)
    rows = [
        row("a", 0, [(0, 0), (2, 1), (7, -1)], [right, wrong, wrong], [box, elsewhere, None]),
        row("b", 0, [(2, 0), (0, 1), (7, -1)], [wrong, wrong, wrong], [box, box, None]),
        row("c", 1, [(1, 0), (2, 1), (7, -1)], [right, wrong, wrong], [elsewhere, elsewhere, None]),
        row("d", 1, [(2, 0), (3, 1), (1, 6)], [wrong, wrong, right], [elsewhere, elsewhere, box]),
        row("e", None, [(2, 0), (3, 1), (7, -1)], [wrong, wrong, wrong], [elsewhere, elsewhere, None]),
    ]
    write_output(tmp_path / "labels", rows, cam={"top_k": 2, "include_label": True})
    labels = {"a": 0, "b": 0, "c": 1, "d": 1, "e": 1}
    write_truth(tmp_path, [f"{name},{label},0,0,30,30" for name, label in labels.items()])
    return tmp_path


def test_the_runs_own_boxes(five_images):
    overall = evaluate(five_images)["overall"]
    assert overall["images"] == 5
    assert overall["top1"] == 2 / 5  # a, c
    assert overall["gt_known"] == 3 / 4  # a, b, d; nothing is known of e
    assert overall["top1_loc"] == 1 / 5  # a
    assert overall["top5"] is overall["top5_loc"] is None  # e's class may be the third or the hundredth


def test_top5_is_known_where_every_image_has_its_class(five_images):
    lines = (five_images / "truth.csv").read_text().splitlines()
    write_truth(five_images, lines[1:5])
    overall = evaluate(five_images)["overall"]
    assert overall["top5"] == 3 / 4  # d's rank is 6
    assert overall["top5_loc"] == 2 / 4  # a, b


def test_boxes_recomputed_from_the_maps(five_images):
    overall = evaluate(five_images)["overall"]
    assert overall["max_box_acc"] == 3 / 4  # a, c, d
    assert overall["best_top1_loc"] == 2 / 5  # a, c


def test_by_class(five_images):
    classes = {c["label"]: c for c in evaluate(five_images)["classes"]}
    assert [classes[0]["class_name"], classes[1]["class_name"]] == ["ant", "bee"]
    assert classes[0]["accuracies"]["images"] == 2
    assert classes[0]["accuracies"]["max_box_acc"] == 1 / 2
    assert classes[1]["accuracies"]["gt_known"] == 1 / 2  # d right, c wrong, e unknown
    assert classes[1]["accuracies"]["max_box_acc"] == 1


def test_an_image_without_its_class_is_told(five_images, capsys):
    evaluate(five_images)
    assert "1 images have no prediction of their true class" in capsys.readouterr().err


def test_without_maps_only_the_runs_boxes_are_judged(tmp_path):
    write_output(tmp_path / "labels", [row("a", 0, [(0, 0)], [blob(0, 0, 3, 3)], [(0, 0, 30, 30)])], keep_maps=False)
    write_truth(tmp_path, ["a,0,0,0,30,30"])
    result = evaluate(tmp_path, "--tune")
    assert (result["overall"]["gt_known"], result["overall"]["max_box_acc"]) == (1, None)
    assert result["counts"]["no_map"] == 1
    assert result["curve"] == result["tuned"] == []
    assert not (tmp_path / "evaluation" / "curve.png").exists()


def test_the_best_of_several_true_boxes_counts(tmp_path):
    write_output(tmp_path / "labels", [row("a", 0, [(0, 0)], [blob(0, 0, 3, 3)], [(0, 0, 30, 30)])])
    write_truth(tmp_path, ["a,0,40,40,70,70", "a,0,0,0,30,32", "a,0,0,0,5,5"])
    overall = evaluate(tmp_path)["overall"]
    assert (overall["gt_known"], overall["max_box_acc"]) == (1, 1)


def test_a_center_cropped_run_is_judged_in_the_whole_image(tmp_path):
    # of 160 x 80 px the model saw a square of 0.875 * 80 = 70 px from (45, 5); its third cell begins at 45 + 20, 5 + 20
    cam = blob(2, 2, 5, 5)
    write_output(
        tmp_path / "labels",
        [row("a", 0, [(0, 0)], [cam], [(65, 25, 95, 55)], (160, 80))],
        model={"resize": "center_crop"},
    )
    write_truth(tmp_path, ["a,0,65,25,95,55"])
    overall = evaluate(tmp_path)["overall"]
    assert (overall["gt_known"], overall["max_box_acc"], overall["max_box_acc_v2"]) == (1, 1, 1)


def test_a_shard_that_is_not_done_is_left_out(five_images, capsys):
    # a run that replaces rows of other settings has left it there, and has not come to it yet
    write_output(five_images / "labels", [one("f")], "later")
    (five_images / "labels" / "_shards" / "later.json").unlink()
    (five_images / "labels" / "_SUCCESS").unlink()
    assert evaluate(five_images)["counts"]["rows"] == 5
    for told in (capsys.readouterr().err, (five_images / "evaluation" / "evaluation.txt").read_text()):
        assert "is not complete: this is of the shards that are done" in told


# --- joining rows and truth


def one(image_id, label=0):
    return row(
        image_id, label, [(0, 0), (1, 1)], [blob(0, 0, 3, 3), blob(4, 4, 7, 7)], [(0, 0, 30, 30), (40, 40, 70, 70)]
    )


def test_what_does_not_meet_is_counted(tmp_path, capsys):
    write_output(tmp_path / "labels", [one("a"), one("b"), one("c", 5), one("d")])
    write_truth(tmp_path, ["a,0,0,0,30,30", "c,0,0,0,130,30", "e,0,0,0,30,30"])
    result = evaluate(tmp_path)
    counts = {name: count for name, count in result["counts"].items() if count}
    assert counts == {"rows": 4, "judged": 2, "no_truth": 2, "other_label": 1, "beyond_image": 1, "not_predicted": 1}
    told = capsys.readouterr().err
    assert "2 rows are not in the truth" in told
    assert "1 images of the truth are not among the rows" in told
    assert "1 rows have another label than the truth says" in told


def test_an_ambiguous_id_is_left_out_until_it_names_its_shard(tmp_path):
    write_output(tmp_path / "labels", [one("a"), one("b")], "first")
    write_output(tmp_path / "labels", [one("a")], "second")
    write_truth(tmp_path, ["a,0,0,0,30,30", "b,0,0,0,30,30"])
    counts = evaluate(tmp_path)["counts"]
    assert (counts["judged"], counts["ambiguous"]) == (1, 2)
    write_truth(tmp_path, ["first/a,0,0,0,30,30", "second/a,0,40,40,70,70", "b,0,0,0,30,30"])
    result = evaluate(tmp_path)
    assert (result["counts"]["judged"], result["counts"]["ambiguous"]) == (3, 0)
    assert result["overall"]["gt_known"] == pytest.approx(2 / 3)
    write_truth(tmp_path, ["second/a,0,40,40,70,70", "a,0,0,0,30,30"])  # the rest is no longer ambiguous
    result = evaluate(tmp_path)
    assert (result["counts"]["judged"], result["counts"]["ambiguous"]) == (2, 0)
    assert result["overall"]["gt_known"] == 1 / 2


def test_of_several_true_classes_the_rows_own_is_judged(tmp_path):
    write_output(tmp_path / "labels", [one("a", 1), one("b", None)])
    write_truth(tmp_path, ["a,0,50,0,60,10", "a,1,40,40,70,70", "b,0,0,0,30,30", "b,1,0,0,30,30"])
    result = evaluate(tmp_path)
    assert (result["counts"]["judged"], result["counts"]["several_classes"]) == (1, 1)
    assert (result["overall"]["gt_known"], result["overall"]["top1"]) == (1, 0)


def test_coco_classes_are_found_by_name(tmp_path):
    write_output(tmp_path / "labels", [one("x/a"), one("b", 1), one("c")])
    images = [{"id": i, "file_name": name} for i, name in enumerate(("x/a.jpg", "b.jpg", "c.jpg"))]
    categories = [{"id": 40, "name": "bee"}, {"id": 2, "name": "ant"}, {"id": 3, "name": "yak"}]
    truth = [(0, 2, [0, 0, 30, 30]), (1, 40, [40, 40, 30, 30]), (1, 2, [0, 60, 9, 9]), (2, 3, [0, 0, 30, 30])]
    annotations = [{"image_id": i, "category_id": c, "bbox": box} for i, c, box in truth]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    result = evaluate(tmp_path, truth="coco.json")
    assert result["counts"]["no_prediction"] == 1  # no yak
    assert (result["overall"]["gt_known"], result["overall"]["top1"]) == (1, pytest.approx(1 / 3))
    assert {c["class_name"] for c in result["classes"]} == {"ant", "bee", "yak"}


def test_truth_by_class_index_and_by_name_gives_the_same_figures(tmp_path):
    rows = [one("a"), row("b", 5, [(0, 0), (1, 1)], [blob(0, 0, 3, 3), blob(4, 4, 7, 7)], [(0, 0, 30, 30), None])]
    write_output(tmp_path / "labels", rows)
    # b's own class is not among its predictions, but says which of the two true classes is judged
    boxes = [("a", 0, (0, 0, 30, 30)), ("b", 0, (0, 0, 30, 30)), ("b", 5, (40, 40, 70, 70))]
    write_truth(tmp_path, [f"{name},{label},{','.join(map(str, box))}" for name, label, box in boxes])
    content = {
        "images": [{"id": name, "file_name": f"{name}.jpg"} for name in "ab"],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": [
            {"image_id": name, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for name, label, (x0, y0, x1, y1) in boxes
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    by_index, by_name = evaluate(tmp_path), evaluate(tmp_path, truth="coco.json")
    assert by_index["counts"] == by_name["counts"]
    assert by_index["counts"]["no_prediction"] == 1
    assert by_index["overall"] == by_name["overall"]


def test_coco_classes_of_one_name_and_labels_without_one(tmp_path):
    names = ["ant", "bee", "bee", "dog"]
    own = [0, 3, 9, None]  # as the truth says; a class that the truth does not name; beyond the model's; none
    rows = [
        row(f"{i}", label, [(2, 0), (1, 1)], [blob(0, 0, 3, 3), blob(4, 4, 7, 7)], [(0, 0, 30, 30), None])
        for i, label in enumerate(own)
    ]
    write_output(tmp_path / "labels", rows, class_names=names)
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(4)],
        "categories": [{"id": 1, "name": "bee"}, {"id": 2, "name": "ant"}],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [0, 0, 30, 30]} for i in range(4)],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    result = evaluate(tmp_path, truth="coco.json")
    assert (result["overall"]["top1"], result["overall"]["gt_known"]) == (1, 1)  # by the more probable bee
    assert result["counts"]["other_label"] == 2  # the ant and the dog


def test_a_class_that_no_row_predicts_has_its_name(tmp_path):
    write_output(tmp_path / "labels", [one("a"), one("b"), one("c")])
    write_truth(tmp_path, ["a,0,0,0,30,30", "b,5,0,0,30,30", "c,800,0,0,30,30"])
    assert [c["class_name"] for c in evaluate(tmp_path)["classes"]] == ["ant", "fox", ""]


# --- tuning


def test_tuning_judges_each_half_by_the_choice_of_the_other():
    thresholds = np.array([0.1, 0.2, 0.3])
    tally = TuningTally(2, 3)
    tally.mapped[:] = 10, 20
    tally.largest[:] = [[[5, 9, 2], [12, 10, 3]], [[8, 1, 1], [2, 2, 16]]]
    tally.all_contours[:] = [[[10, 15, 0], [9, 0, 0], [0, 6, 0]], [[0, 0, 30], [0, 0, 15], [0, 0, 15]]]
    (minmax, maximum), best = tune(tally, thresholds, [Normalization("minmax"), Normalization("max")])
    # minmax: 9 + 10 at 0.2; the first half chooses 0.2, the second 0.1, and they score 10 and 5 on each other
    assert (minmax.threshold_frac, minmax.gt_known, minmax.held_out) == (0.2, 19 / 30, 15 / 30)
    assert minmax.max_box_acc_v2 == pytest.approx((15 + 9 + 6) / 90)
    assert (maximum.threshold_frac, maximum.gt_known, maximum.held_out) == (0.3, 17 / 30, 3 / 30)
    # the first half chooses minmax at 0.2 (10 on the other), the second max at 0.3 (1 on the other)
    assert (best.normalization, best.threshold_frac, best.held_out) == ("minmax", 0.2, 11 / 30)


def test_halves_are_by_name_and_about_equal():
    halves = [half_of(f"image-{i}") for i in range(1000)]
    assert halves == [half_of(f"image-{i}") for i in range(1000)]
    assert 440 < sum(halves) < 560  # four standard deviations


def test_tune_finds_the_normalization_that_suits(tmp_path):
    # a deep hole makes min-max lift everything else above any small threshold
    rows, lines = [], []
    for i in range(8):
        cam = blob(0, 0, 3, 3) + np.where(blob(6, 6, 7, 7) > 0, -50, 0)
        rows.append(row(f"i{i}", 0, [(0, 0)], [cam], [(0, 0, 30, 30)]))
        lines.append(f"i{i},0,0,0,30,30")
    write_output(tmp_path / "labels", rows)
    write_truth(tmp_path, lines)
    result = evaluate(tmp_path, "--tune")
    by_name = {tuned["normalization"]: tuned for tuned in result["tuned"]}
    assert result["best"]["normalization"] == "max"
    assert by_name["max"]["held_out"] == 1
    assert by_name["minmax"]["gt_known"] == 0
    assert result["overall"]["max_box_acc"] == 0  # the curve is of min-max unless another is asked for
    assert evaluate(tmp_path, "--normalization", "max")["overall"]["max_box_acc"] == 1


# --- what is written


def test_maps_are_what_the_reference_scorer_loads(tmp_path):
    cam = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    write_output(tmp_path / "labels", [row("val/a.JPEG", 0, [(1, 0), (0, 1)], [-cam, cam], [None, None])])
    write_truth(tmp_path, ["val/a.JPEG,0,0,0,30,30"])
    evaluate(tmp_path, "--maps", str(tmp_path / "maps"))
    written = np.load(tmp_path / "maps" / "val" / "a.JPEG.npy")
    large = cv2.resize(cam, (224, 224))
    assert (written.shape, written.dtype, written.min(), written.max()) == ((224, 224), np.float64, 0, 1)
    np.testing.assert_allclose(written, (large - large.min()) / (large.max() - large.min()), atol=1e-6)


@pytest.mark.parametrize("name", ["../a", "/a", "x/../../a"])
def test_maps_stay_in_their_folder(tmp_path, capsys, name):
    write_output(tmp_path / "labels", [one(name)])
    write_truth(tmp_path, [f"{name},0,0,0,30,30"])
    argv = ["evaluate", "--predictions", str(tmp_path / "labels"), "--truth", str(tmp_path / "truth.csv")]
    assert main([*argv, "--maps", str(tmp_path / "maps")]) == 2
    assert "would lie outside the folder" in capsys.readouterr().err


def test_text_markdown_and_picture(five_images, capsys):
    evaluate(five_images, "--tune")
    folder = five_images / "evaluation"
    text, markdown = (folder / "evaluation.txt").read_text(), (folder / "evaluation.md").read_text()
    printed = capsys.readouterr().out
    for shown in (text, markdown, printed):
        assert "MaxBoxAcc, best threshold" in shown
        assert "75.0" in shown
        assert "ivr:45" in shown
    assert "| 1 bee | 3 |" in markdown
    assert "![accuracy by threshold](curve.png)" in markdown
    assert cv2.imread(str(folder / "curve.png")).shape == (500, 800, 3)


def test_the_step_sets_the_thresholds(five_images):
    curve = evaluate(five_images, "--step", "0.25")["curve"]
    assert [point["threshold_frac"] for point in curve] == [0, 0.25, 0.5, 0.75]


def test_several_processes_count_the_same():
    generator = np.random.default_rng(0)
    batches = [
        (i, MapBatch(["x"], [generator.normal(size=(7, 7)).astype(np.float32)], [np.array([[0, 0, 99, 99]])]))
        for i in range(7)
    ]
    scorer = MapScorer(np.arange(0, 1, 0.1), [Normalization("minmax"), Normalization("ivr", 30)])
    alone, together = (list(score_all(iter(batches), scorer, workers)) for workers in (1, 2))
    assert [i for i, _ in together] == list(range(7))
    for (_, one_met), (_, other_met) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one_met, other_met)


# --- what is refused, in one line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--truth", "nowhere.csv"], "can't read the truth"),
        (["--normalization", "ivr"], "minmax, max, pas or ivr:PERCENTILE"),
        (["--step", "0"], "--step must lie in"),
        (["--predictions", "nowhere"], "is not the output of a run"),
    ],
)
def test_bad_usage_is_one_line(five_images, capsys, options, message):
    argv = ["evaluate", "--predictions", str(five_images / "labels"), "--truth", str(five_images / "truth.csv")]
    assert main([*argv, *options]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing of the kind"])
def test_a_file_that_is_no_parquet_is_named(five_images, capsys, content):
    (five_images / "labels" / "images" / "shard.parquet").write_bytes(content)
    argv = ["evaluate", "--predictions", str(five_images / "labels"), "--truth", str(five_images / "truth.csv")]
    assert main(argv) == 2
    assert "shard.parquet can't be read" in capsys.readouterr().err


def test_an_output_without_rows_is_refused(tmp_path, capsys):
    commit(Layout(str(tmp_path / "labels")), Shard("empty", "uri", "webdataset", "1", 1), 0)
    argv = [
        "evaluate",
        "--predictions",
        str(tmp_path / "labels"),
        "--truth",
        str(write_truth(tmp_path, ["a,0,0,0,3,3"])),
    ]
    assert main(argv) == 2
    assert "has no rows" in capsys.readouterr().err


def test_rows_of_another_program_are_refused(five_images, capsys):
    path = five_images / "labels" / "images" / "shard.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    argv = ["evaluate", "--predictions", str(five_images / "labels"), "--truth", str(five_images / "truth.csv")]
    assert main(argv) == 2
    assert "was not written by cambeam" in capsys.readouterr().err


def test_a_truth_about_other_images_shows_an_example_of_both(five_images, capsys):
    write_truth(five_images, ["other,0,0,0,30,30"])
    argv = ["evaluate", "--predictions", str(five_images / "labels"), "--truth", str(five_images / "truth.csv")]
    assert main(argv) == 2
    assert "the truth has e.g. 'other', the predictions e.g. 'a'" in capsys.readouterr().err
