import re

import numpy as np
import pyarrow.dataset
import pytest

from pipeline import cli
from pipeline.demo import command as demo
from pipeline.demo import scenes
from tests.factories import write_scenes
from transforms.model.demo import CLASS_NAMES


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(demo, "NUM_SCENES", 8)
    monkeypatch.setenv("COLUMNS", "300")


def test_demo_labels_its_scenes_and_prints_how_well(small, tmp_path, capsys):
    out = tmp_path / "demo"
    assert cli.main(["demo", "--output", str(out)]) == 0
    said = capsys.readouterr().err
    for row in (
        "8 generated scenes",
        "top-1 accuracy",
        "boxes with IoU >= 0.5",
        "images/s",
        str(out / "labels/images"),
    ):
        assert row in said
    assert float(re.search(r"top-1 accuracy\W+([\d.]+)%", said)[1]) >= 87.5  # at most one of eight is wrong
    table = pyarrow.dataset.dataset(out / "labels" / "images").to_table()
    assert table.num_rows == 8
    assert set(table["class_name"].to_pylist()) <= set(CLASS_NAMES)
    assert (out / "labels" / "_SUCCESS").exists()
    # again: nothing is drawn or labelled anew
    before = {path: path.stat().st_mtime_ns for path in (out / "scenes").iterdir()}
    assert cli.main(["demo", "--output", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "scenes").iterdir()} == before
    assert "2 of 2 shards are done already" in capsys.readouterr().err


def test_scenes_have_their_shards_and_truth(small, tmp_path):
    shards, truth_path = demo.write_scenes(str(tmp_path))
    assert len(shards) == demo.NUM_SHARDS
    with open(truth_path) as file:
        header, first, *_ = file.read().splitlines()
    assert header == "image_id,label,x0,y0,x1,y1"
    scene = scenes.draw_scene(0)
    assert first == ",".join(["scene-000", str(scene.label), *map(str, scene.box)])
    with open(write_scenes(tmp_path / "same.tar", range(4)), "rb") as mine, open(shards[0], "rb") as theirs:
        assert mine.read() == theirs.read()


def test_a_seed_draws_the_same_scene_always():
    first, second = scenes.draw_scene(7), scenes.draw_scene(7)
    np.testing.assert_array_equal(first.image, second.image)
    assert first.box == second.box
    assert not np.array_equal(first.image, scenes.draw_scene(8).image)


def test_scenes_are_as_described():
    drawn = [scenes.draw_scene(seed) for seed in range(40)]
    assert {scene.label for scene in drawn} == set(range(len(CLASS_NAMES)))
    assert any(scene.image.shape[0] != scene.image.shape[1] for scene in drawn)
    for scene in drawn:
        height, width = scene.image.shape[:2]
        assert min(height, width) >= 224
        assert max(height, width) <= 1.5 * min(height, width)
        x0, y0, x1, y1 = scene.box
        assert 0 < x0 < x1 < width  # the shape lies wholly inside
        assert 0 < y0 < y1 < height
        assert 0.2 * min(height, width) < max(x1 - x0, y1 - y0) < 0.95 * min(height, width)
