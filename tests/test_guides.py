"""The guides: what they show is run as it stands there."""

import json
import pathlib
import re
import shlex
import tarfile

import cv2
import duckdb
import pyarrow.dataset
import pytest
from supervision import DetectionDataset

from pipeline import cli
from pipeline.demo import command as demo
from pipeline.demo import scenes
from transforms.model.demo import CLASS_NAMES
from transforms.predict.tensorflow_device import configure_tensorflow

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"


def _blocks(page: str | pathlib.Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def _run_commands(page: str, **variables: str) -> None:
    """Runs the cambeam commands of a page in the current folder."""
    script = "".join(_blocks(page, "bash")).replace("\\\n", " ")
    for line in script.splitlines():
        words = shlex.split(line)
        if words[0] == "cambeam":
            filled = [variables[word[1:]] if word.startswith("$") else word for word in words[1:]]
            assert cli.main(filled) == 0, line


def _jpeg(seed: int) -> bytes:
    return cv2.imencode(".jpg", scenes.draw_scene(seed).image[..., ::-1])[1].tobytes()


def test_from_photos_to_yolo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        path = pathlib.Path("photos", f"folder {number % 2}", f"scene-{number}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(number))
    # the page's own mapping is of ImageNet's classes
    kinds = {name: "round" if name in ("circle", "ring", "crescent") else "edged" for name in CLASS_NAMES}
    pathlib.Path("classes.yaml").write_text("".join(f"{name}: {kind}\n" for name, kind in kinds.items()))
    _run_commands("from-photos-to-yolo.md", MODEL="demo")
    found = 0
    for split in ("train", "val"):
        folders = [f"dataset/{part}/{split}" for part in ("images", "labels")]
        dataset = DetectionDataset.from_yolo(*folders, "dataset/data.yaml")
        assert set(dataset.classes) == {"round", "edged"}
        found += sum(len(detections) for _, _, detections in dataset)
    assert found >= 8  # of 12 scenes with one shape each


def test_the_readmes_script(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("photos").mkdir()
    for number in range(3):
        pathlib.Path("photos", f"scene-{number}.jpg").write_bytes(_jpeg(number))
    (script,) = (code for code in _blocks(ROOT / "README.md", "python") if "import cambeam" in code)
    assert len(script.splitlines()) <= 12
    exec(compile(script, "README.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "3 images, 0 rejected {}"
    assert [line.split()[0] for line in said[1:4]] == ["scene-0", "scene-1", "scene-2"]
    assert said[-2:] == ["[]", f"<Labels of 3 images, 0 rejected, in '{tmp_path}/labels': complete>"]


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> pathlib.Path:
    """A folder with the output `labels` of 10 scenes, one of them twice, and a file that is no image."""
    folder = tmp_path_factory.mktemp("duckdb")
    with tarfile.open(folder / "scenes.tar", "w") as tar:
        for number, seed in enumerate([*range(10), 0]):
            demo._add(tar, f"{number}.jpg", _jpeg(seed))
            demo._add(tar, f"{number}.cls", str(scenes.draw_scene(seed).label).encode())
        demo._add(tar, "broken.jpg", b"not an image")
    arguments = ["--input", str(folder / "scenes.tar"), "--output", str(folder / "labels"), "--model", "demo"]
    assert cli.main(["run", *arguments, "--set", "cam.top_k=3", "--set", "failures.max_fraction=0.1"]) == 0
    return folder


def test_a_run_keeps_the_names_of_all_classes(labels):
    assert json.loads((labels / "labels/_plan/class_names.json").read_text()) == list(CLASS_NAMES)


def test_a_run_is_exported_with_its_original_images(labels, tmp_path):
    arguments = ["--predictions", str(labels / "labels"), "--format", "webdataset", "--output", str(tmp_path / "out")]
    assert cli.main(["export", *arguments, "--keep-empty"]) == 0
    with tarfile.open(tmp_path / "out/train-000000.tar") as tar:
        found = {name: tar.extractfile(name).read() for name in tar.getnames() if name.endswith(".jpg")}
    assert found == {f"{number}.jpg": _jpeg(seed) for number, seed in enumerate([*range(10), 0])}


QUERIES = _blocks("duckdb.md", "sql")


def test_there_are_ten_queries():
    assert len(QUERIES) == 10


@pytest.mark.parametrize("number", range(1, 11))
def test_duckdb_query(labels, monkeypatch, number):
    monkeypatch.chdir(labels)
    answer = duckdb.sql(QUERIES[number - 1]).to_arrow_table().to_pylist()
    rows = pyarrow.dataset.dataset("labels/images").to_table().to_pylist()
    assert len(rows) == 11
    wrong = [row for row in rows if row["class_index"] != row["label"]]
    match number:
        case 1 | 2:
            assert sum(row["images"] for row in answer) == 11
        case 3:
            assert len(answer) == 11
            assert [row["margin"] for row in answer] == sorted(row["margin"] for row in answer)
        case 4:
            per_class = [sum(row["class_name"] == name for row in answer) for name in CLASS_NAMES]
            assert per_class == [min(3, sum(row["class_name"] == name for row in rows)) for name in CLASS_NAMES]
        case 5:
            assert answer[0]["top1_accuracy"] == pytest.approx(1 - len(wrong) / 11)
        case 6:
            assert sum(row["images"] for row in answer) == len(wrong)
        case 7:
            assert len(answer) == sum(len(p["boxes"]) for row in rows for p in row["predictions"])
        case 8:
            assert sum(row["images"] for row in answer) == sum(row["box"] is not None for row in rows)
        case 9:
            shard_id = rows[0]["shard_id"]
            assert [row["images"] for row in answer] == [[f"{shard_id}/0", f"{shard_id}/10"]]
        case 10:
            assert [(row["error_type"], row["images"]) for row in answer] == [("unknown_format", 1)]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_bring_your_own_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configure_tensorflow()  # before the page's code starts it, in this process
    names: dict = {}
    (code,) = _blocks("bring-your-own-model.md", "python")
    exec(compile(code, "bring-your-own-model.md", "exec"), names)
    monkeypatch.setattr("pipeline.inspect.command.TRIAL_SECONDS", 0.1)
    _run_commands("bring-your-own-model.md")
    rows = pyarrow.dataset.dataset("kinds/images").to_table(["label", "class_name"]).to_pylist()
    right = sum(names["KIND_OF"][CLASS_NAMES[row["label"]]] == row["class_name"] for row in rows)
    assert len(rows) == demo.NUM_SCENES
    assert right / len(rows) > 0.8
    assert pathlib.Path("dataset/annotations/instances_train.json").exists()
