"""The command: what it takes, where it writes, and what it refuses."""

import hashlib
import os
import pathlib
import tarfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.export.formats.records import ExportImage
from pipeline.export.originals import read_originals
from tests.exported import Labelled, commit, hash_of, png, read_json, write_output
from transforms.output.layout import Layout
from transforms.output.plan import read_plan, write_plan
from transforms.read.fields import USUAL_FIELDS
from transforms.records import Shard
from transforms.store import files as store

BOX = (4.0, 6.0, 20.0, 21.0)


def _labelled(image_id: str, class_index: int = 0, probability: float = 0.9, score: float = 0.5, **more) -> Labelled:
    return Labelled(image_id, [(class_index, probability, [(*BOX, score)])], **more)


def _export(tmp_path, output: str, *options: str, name: str = "out", code: int = 0) -> pathlib.Path:
    folder = tmp_path / name
    assert cli.main(["export", "--predictions", output, "--output", str(folder), *options]) == code
    return folder


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _exported_ids(folder: pathlib.Path) -> list[str]:
    return [line.split(",")[0] for line in (folder / "boxes.csv").read_text().splitlines()[1:]]


def test_top_per_class_takes_the_highest_scores_and_the_same_files_every_time(tmp_path):
    # cats: a 0.3, b 0.9, c 0.5, e 0.5 (the earlier of equals is taken); dogs: d 0.2
    shards = {
        "one": [_labelled("a", 0, score=0.3), _labelled("b", 0, score=0.9), _labelled("d", 1, score=0.2)],
        "two": [_labelled("c", 0, score=0.5), _labelled("e", 0, score=0.5)],
    }
    output = write_output(tmp_path, shards)
    options = ("--format", "csv", "--top-per-class", "2")
    first, second = (_export(tmp_path, output, *options, name=name) for name in ("first", "second"))
    assert _exported_ids(first) == ["b", "d", "c"]
    assert _files(first) == _files(second)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["a", "b", "c"]),  # the most probable class of each
        (("--min-probability", "0.3"), ["a", "b", "b"]),  # every class that reaches it
        (("--min-probability", "0.6"), ["a"]),
        (("--min-box-score", "0.4"), ["a", "c"]),
        (("--min-consistency", "0.5"), ["b"]),  # c's was not measured
        (("--classes", "dog"), ["b", "c"]),
        (("--classes", "dog", "--min-probability", "0.2"), ["b", "c"]),
        (("--classes", "0,1"), ["a", "b", "c"]),
    ],
)
def test_selects(tmp_path, options, expected):
    images = [
        _labelled("a", 0, 0.9, 0.5, consistency=0.4),
        Labelled("b", [(1, 0.55, [(*BOX, 0.3)]), (0, 0.35, [(*BOX, 0.2)])], consistency=0.6),
        _labelled("c", 1, 0.25, 0.5),
    ]
    output = write_output(tmp_path, {"one": images}, consistency=True)
    assert _exported_ids(_export(tmp_path, output, "--format", "csv", *options)) == expected


def test_the_split_is_by_the_image_alone(tmp_path):
    images = [_labelled(f"image-{number}") for number in range(60)]
    small = write_output(tmp_path / "small", {"one": images[:20]})
    large = write_output(tmp_path / "large", {"zero": images[20:], "one": images[:20]})
    options = ("--format", "coco", "--validation-fraction", "0.3")

    def validation(output, name):
        folder = _export(tmp_path, output, *options, name=name)
        parts = [
            {image["file_name"] for image in read_json(folder / f"annotations/instances_{split}.json")["images"]}
            for split in ("train", "val")
        ]
        assert not parts[0] & parts[1]
        return parts[1]

    of_small, of_large = validation(small, "a"), validation(large, "b")
    assert of_small < of_large
    assert 8 <= len(of_large) <= 28  # 18 of 60 expected, binomial standard deviation 3.5


def test_ambiguous_ids_get_names_of_their_own(tmp_path):
    images = [_labelled("same"), _labelled("Other")]
    output = write_output(tmp_path, {"one": images, "two": [*images[:1], _labelled("other"), _labelled("third")]})
    folder = _export(tmp_path, output, "--format", "voc", "--images", "copy")
    assert sorted(os.listdir(folder / "JPEGImages")) == [
        "Other~one~1.png",
        "other~two~1.png",
        "same~one~0.png",
        "same~two~0.png",
        "third.png",
    ]


def test_names_never_leave_the_folder(tmp_path):
    ids = ["../../up", "/etc/passwd", "a/../../b", "line\nbreak", "..", "C:\\x"]
    output = write_output(tmp_path, {"one": [_labelled(image_id) for image_id in ids]})
    before = set(tmp_path.iterdir())
    for format in ("coco", "yolo", "voc", "webdataset"):
        folder = _export(tmp_path, output, "--format", format, "--images", "copy", name=format)
        before.add(folder)
        if format == "webdataset":
            with tarfile.open(folder / "train-000000.tar") as tar:
                assert not any(".." in name or "/" in name for name in tar.getnames())
        else:
            assert sum(path.suffix == ".png" for path in folder.rglob("*")) == len(ids)
    assert set(tmp_path.iterdir()) == before


def test_reads_only_the_images_that_are_taken_of_a_tar(tmp_path):
    images = [_labelled(f"image-{number}", number % 2) for number in range(5)]
    output = write_output(tmp_path, {"one": images})
    folder = _export(tmp_path, output, "--format", "coco", "--images", "copy", "--classes", "dog")
    copied = _files(folder / "images")
    assert copied == {f"train/image-{number}.png": png(hash_of(images[number])) for number in (1, 3)}


def test_links_point_to_the_originals(tmp_path):
    images = [_labelled("cats/one"), _labelled("two")]
    output = write_output(tmp_path, {"photos": images}, as_files=True)
    folder = _export(tmp_path, output, "--format", "yolo", "--images", "link")
    assert os.path.realpath(folder / "images/train/cats__one.png") == str(tmp_path / "photos/cats/one.png")
    assert (folder / "labels/train/cats__one.txt").exists()


def test_a_changed_image_fails_and_leaves_nothing(tmp_path, capsys):
    output = write_output(tmp_path, {"photos": [_labelled("one")]}, as_files=True)
    (tmp_path / "photos/one.png").write_bytes(png(0))
    folder = _export(tmp_path, output, "--format", "coco", "--images", "copy", code=1)
    assert "has changed since it was labelled" in capsys.readouterr().err
    assert not folder.exists()
    assert not list(tmp_path.glob("*.part-*"))


def test_label_files_beside_the_images_are_not_taken_for_images(tmp_path):
    images = [_labelled("one"), _labelled("two")]
    output = write_output(tmp_path, {"photos": images}, as_files=True)
    plan = Layout(output).plan
    (shard,) = read_plan(plan)
    (tmp_path / "photos/one.cls").write_text("1")
    write_plan(plan, [replace(shard, members=("one.png", "one.cls", "two.png"))], f"{plan}.part")
    folder = _export(tmp_path, output, "--format", "coco", "--images", "copy")
    assert _files(folder / "images") == {f"train/{image.image_id}.png": png(hash_of(image)) for image in images}


def test_a_link_to_an_image_that_is_gone_fails(tmp_path, capsys):
    output = write_output(tmp_path, {"photos": [_labelled("one")]}, as_files=True)
    (tmp_path / "photos/one.png").unlink()
    _export(tmp_path, output, "--format", "coco", "--images", "link", code=1)
    assert "is gone" in capsys.readouterr().err


def test_an_image_that_is_gone_fails(tmp_path, capsys):
    output = write_output(tmp_path, {"photos": [_labelled("one")]})
    with tarfile.open(tmp_path / "photos.tar", "w"):
        pass
    _export(tmp_path, output, "--format", "webdataset", code=1)
    assert "can't be read again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--min-consistency", "0.5"), "was labelled without cam.flip"),
        (("--images", "copy"), "--images copy is not for --format csv"),
        (("--min-probability", "1.5"), "--min-probability must lie in [0, 1], got 1.5"),
        (("--validation-fraction", "1"), "--validation-fraction must lie in [0, 1), got 1.0"),
        (("--top-per-class", "0"), "--top-per-class must be at least 1, got 0"),
        (("--classes", "dgo"), "the model has no class 'dgo', did you mean 'dog'?"),
        (("--classes", "sparrow"), "the model has no class 'sparrow', did you mean 'sparrow, house sparrow'?"),
        (("--classes", "17"), "the model has no class '17': it has 4, by name or index"),
        (("--confidence",), "--confidence is for --format yolo"),
        (("--format", "coco", "--images", "link"), "--images link is for local image files"),
    ],
)
def test_refuses_in_one_line(tmp_path, capsys, options, message):
    output = write_output(tmp_path, {"one": [_labelled("a")]})
    format = () if "--format" in options else ("--format", "csv")
    folder = _export(tmp_path, output, *format, *options, code=2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not folder.exists()


def test_refuses_a_folder_that_is_not_empty(tmp_path, capsys):
    output = write_output(tmp_path, {"one": [_labelled("a")]})
    (tmp_path / "out").mkdir()
    _export(tmp_path, output, "--format", "csv")  # an empty one will do
    _export(tmp_path, output, "--format", "csv", code=2)
    assert "is not empty" in capsys.readouterr().err


def test_an_output_that_is_not_complete_is_said_to_be_so(tmp_path, capsys):
    output = write_output(tmp_path, {"one": [_labelled("a")], "two": [_labelled("b")]})
    layout = Layout(output)
    store.delete(layout.success)
    store.delete(layout.marker("two"))
    folder = _export(tmp_path, output, "--format", "csv")
    assert _exported_ids(folder) == ["a"]  # what has no marker may be of older settings
    assert "1 of 2 shards are done" in capsys.readouterr().err


def test_class_names_that_are_gone_are_named_in_one_line(tmp_path, capsys):
    output = write_output(tmp_path, {"one": [_labelled("a")]})
    store.delete(Layout(output).class_names)
    _export(tmp_path, output, "--format", "coco", code=2)
    assert "_plan/class_names.json, which a run writes, is gone" in capsys.readouterr().err


def test_a_mapping_merges_classes_and_takes_the_more_probable_box_of_kin(tmp_path):
    birds = Labelled("bird", [(3, 0.5, [(0, 0, 10, 10, 0.4)]), (2, 0.4, [(1, 1, 11, 11, 0.3)])])
    output = write_output(tmp_path, {"one": [birds, _labelled("cat")]})
    mapping = tmp_path / "mine.yaml"
    mapping.write_text('"sparrow, house sparrow": bird\n3: bird\ndog: pet\n')
    folder = _export(
        tmp_path, output, "--format", "yolo", "--min-probability", "0.1", "--classes", str(mapping), "--keep-empty"
    )
    # the eagle's box: centre 5 / 40 and 5 / 30, size 10 / 40 and 10 / 30
    assert (folder / "labels/train/bird.txt").read_text() == "0 0.125000 0.166667 0.250000 0.333333\n"
    assert (folder / "labels/train/cat.txt").read_text() == ""  # kept, though its class was not asked for
    assert (folder / "data.yaml").read_text().endswith("names:\n  0: bird\n  1: pet\n")


@pytest.mark.parametrize("command", [["export", "--format", "csv"], ["report"]])
def test_a_damaged_file_is_named_in_one_line(tmp_path, capsys, command):
    output = write_output(tmp_path, {"one": [_labelled(f"image-{number}") for number in range(50)]})
    path = pathlib.Path(Layout(output).images("one"))
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes(len(content) - 100) + content[-50:])  # the footer's length is as it was
    assert cli.main([*command, "--predictions", output, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert f"{path} can't be read" in error
    assert error.count("\n") == 1


def test_a_shard_without_rows_needs_no_file(tmp_path):
    output = write_output(tmp_path, {"one": [_labelled("a")]})
    commit(Layout(output), Shard("empty", "/data/empty.tar", "webdataset", "1", 1), 0)
    assert _exported_ids(_export(tmp_path, output, "--format", "csv")) == ["a"]


def test_not_an_output(tmp_path, capsys):
    _export(tmp_path, str(tmp_path), "--format", "csv", code=2)
    assert "is not the output of a run" in capsys.readouterr().err


def test_originals_are_read_again_from_parquet(tmp_path):
    contents = [png(seed) for seed in range(3)]
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": [{"bytes": content, "path": "x.png"} for content in contents]}), path)
    images = [
        ExportImage(
            "", "", "train", "", "", f"{path}#{row}", row, 40, 30, hashlib.sha256(contents[row]).hexdigest(), []
        )
        for row in (0, 2)
    ]
    found = read_originals(Shard("images", str(path), "parquet", "1", 1), USUAL_FIELDS, iter(images))
    assert [content for _, content in found] == [contents[0], contents[2]]
