"""The data of `cambeam report`: what is counted, what is shown, what is written. The page itself: tests/browser."""

import hashlib
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.demo import command as demo
from pipeline.report import gallery as report_gallery
from pipeline.report.command import write_report
from pipeline.report.comparison import pair
from pipeline.report.figures import BINS
from pipeline.report.rows import read_rows
from pipeline.rows.output import open_output
from tests.exported import commit
from transforms.output.layout import Layout
from transforms.output.schema import REJECT_SCHEMA, image_schema
from transforms.output.settings import OutputSettings
from transforms.records import Shard
from transforms.store import files as store

NAMES = ["cat", "dog", "owl"]


def row(image_id: str, **values) -> dict:
    """One image of 100x50 px, seen as a cat with a box of a quarter of it, unless said otherwise."""
    box = {"x0": 0.0, "y0": 0.0, "x1": 50.0, "y1": 25.0, "score": 0.5}
    values = {"class_index": 0, "probability": 0.9, "label": None, "box": box, "width": 100, "height": 50} | values
    return values | {
        "image_id": image_id,
        "sha256": hashlib.sha256(image_id.encode()).hexdigest(),
        "class_name": NAMES[values["class_index"]],
        "predictions": [],
        "thumbnail": {"bytes": f"jpeg of {image_id}".encode(), "path": None},
    }


def write_output(
    root: pathlib.Path,
    *shards: list[dict],
    rejects: list[dict] = (),
    schema: pa.Schema | None = None,
    class_names: list[str] = NAMES,
):
    """Writes an output folder with these rows; the rejects are those of the first shard."""
    layout = Layout(str(root))
    store.write_json(layout.class_names, class_names, f"{layout.class_names}.part")
    for number, rows in enumerate(shards):
        shard_id, uri = f"shard-{number}", f"/data/shard-{number}.tar"
        refused = list(rejects) if number == 0 else []
        table = [
            r | {"shard_id": shard_id, "uri": f"{uri}#{r['image_id']}", "index_in_shard": i} for i, r in enumerate(rows)
        ]
        for path, content, kind in (
            (layout.images(shard_id), table, schema or image_schema({}, OutputSettings())),
            (layout.rejects(shard_id), refused, REJECT_SCHEMA),
        ):
            if content:
                pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(pa.Table.from_pylist(content, kind), path, row_group_size=2)
        shard = Shard(shard_id, uri, "webdataset", "v", 0)
        commit(layout, shard, len(rows), len(refused), seconds={"predict": 1.5}, run_id="r")
    return str(root)


def load(path: pathlib.Path) -> list:
    """Returns the arguments of the call in a data file."""
    call = path.read_text(encoding="ascii")
    return json.loads("[" + call[call.index("(") + 1 : call.rindex(")")] + "]")


def load_gallery(folder: pathlib.Path) -> dict[str, list]:
    columns: dict[str, list] = {}
    for number, path in enumerate(sorted((folder / "data").glob("rows-*.js"))):
        page, content = load(path)
        assert page == number
        for name, values in content.items():
            columns.setdefault(name, []).extend(values)
    return columns


@pytest.fixture
def labelled(tmp_path):
    return write_output(
        tmp_path / "out",
        [row("a", label=0), row("b", label=1, probability=0.95), row("c", class_index=1, label=1, probability=0.2)],
        [],
        [row("d", class_index=2, probability=0.55, box=None)],
        rejects=[
            {"image_id": "e", "uri": "/data/e", "stage": "decode", "error_type": "truncated", "message": "cut"},
            {"image_id": "f", "uri": "/data/f", "stage": "decode", "error_type": "truncated", "message": "cut"},
            {"image_id": "g", "uri": "/data/g", "stage": "decode", "error_type": "empty", "message": "no bytes"},
        ],
    )


def test_counts_cover_all_shards(labelled, tmp_path):
    write_report(labelled, str(tmp_path / "report"))
    (summary,) = load(tmp_path / "report" / "data" / "summary.js")
    totals = summary["totals"]
    assert {key: totals[key] for key in ("images", "rejected", "shards", "planned", "labelled", "agree", "boxes")} == {
        "images": 4, "rejected": 3, "shards": 3, "planned": 3, "labelled": 3, "agree": 2, "boxes": 3,
    }  # fmt: skip
    assert totals["seconds"] == {"predict": 4.5}
    assert totals["medianProbability"] == pytest.approx((0.55 + 0.9) / 2)
    assert summary["classes"]["name"] == NAMES
    assert summary["classes"]["images"] == [2, 1, 1]
    assert summary["classes"]["labels"] == [1, 2, 0]
    assert summary["classes"]["agree"] == [1, 1, 0]
    assert summary["confusions"] == [[1, 0, 1]]  # one dog seen as a cat


def test_distributions_are_by_agreement(labelled, tmp_path):
    write_report(labelled, str(tmp_path / "report"))
    (summary,) = load(tmp_path / "report" / "data" / "summary.js")
    agree, disagree, unlabelled = summary["distributions"]["probability"]
    bins = BINS
    assert (agree[int(0.9 * bins)], agree[int(0.2 * bins)], sum(agree)) == (1, 1, 2)
    assert (disagree[int(0.95 * bins)], sum(disagree)) == (1, 1)
    assert (unlabelled[int(0.55 * bins)], sum(unlabelled)) == (1, 1)
    # three boxes of 50x25 in 100x50, one image without
    assert summary["distributions"]["area"][0][int(0.25 * bins)] == 3
    assert sum(summary["distributions"]["area"][0]) == 3


def test_rejects_by_kind_have_examples(labelled, tmp_path):
    write_report(labelled, str(tmp_path / "report"))
    (summary,) = load(tmp_path / "report" / "data" / "summary.js")
    assert [(kind["kind"], kind["count"]) for kind in summary["rejects"]] == [("truncated", 2), ("empty", 1)]
    assert [example["id"] for example in summary["rejects"][0]["examples"]] == ["e", "f"]


def test_gallery_has_every_image_and_its_thumbnail(labelled, tmp_path):
    write_report(labelled, str(tmp_path / "report"))
    gallery = load_gallery(tmp_path / "report")
    assert gallery["id"] == ["a", "b", "c", "d"]
    assert gallery["label"] == [0, 1, 1, -1]
    assert gallery["box"][0] == [0, 0, 50, 25, 0.5]
    assert gallery["box"][3] is None
    assert gallery["uri"][3] == "#d"
    assert gallery["shard"] == [0, 0, 0, 2]
    thumbnails = sorted((tmp_path / "report" / "thumbnails" / "0000").iterdir())
    assert [path.read_bytes() for path in thumbnails] == [f"jpeg of {i}".encode() for i in "abcd"]


def test_names_from_the_data_are_plain_ascii_json(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>\"'\u2028é"
    out = write_output(tmp_path / "out", [row(evil)])
    write_report(out, str(tmp_path / "report"))
    assert load_gallery(tmp_path / "report")["id"] == [evil]


def test_large_output_shows_a_stable_sample_with_the_extremes(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        row(f"i{n}", probability=float(p), class_index=0, label=0) for n, p in enumerate(rng.uniform(0.3, 1, 400))
    ]
    images[7] |= {"probability": 0.01}
    images[8] |= {"label": 1, "probability": 0.999}
    images[9] |= {"class_index": 2, "class_name": "owl", "label": 2}
    out = write_output(tmp_path / "out", images)
    write_report(out, str(tmp_path / "one"), gallery_images=60)
    write_report(out, str(tmp_path / "two"), gallery_images=60)
    one, two = load_gallery(tmp_path / "one"), load_gallery(tmp_path / "two")
    assert one == two
    assert len(one["id"]) == len(set(one["id"])) == 60
    assert {"i7", "i8", "i9"} <= set(one["id"])  # least certain, most confident mistake, only one of its class
    (summary,) = load(tmp_path / "one" / "data" / "summary.js")
    assert summary["totals"]["images"] == 400
    for number, image_id in enumerate(one["id"]):
        assert (tmp_path / f"one/thumbnails/0000/{number:07d}.jpg").read_text() == f"jpeg of {image_id}"


def test_pages_are_cut_at_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(report_gallery, "PAGE_ROWS", 3)
    out = write_output(tmp_path / "out", [row(f"i{n}") for n in range(7)])
    write_report(out, str(tmp_path / "report"))
    assert [len(load(path)[1]["id"]) for path in sorted((tmp_path / "report/data").glob("rows-*.js"))] == [3, 3, 1]
    assert load_gallery(tmp_path / "report")["id"] == [f"i{n}" for n in range(7)]


def test_consistency_is_shown_where_a_run_has_it(tmp_path):
    rows = [row("a") | {"consistency": 0.25}, row("b") | {"consistency": None}]
    write_report(write_output(tmp_path / "with", rows), str(tmp_path / "one"))
    write_report(write_output(tmp_path / "without", [row("a")]), str(tmp_path / "two"))
    (one,), (two,) = (load(tmp_path / name / "data" / "summary.js") for name in ("one", "two"))
    assert (one["totals"]["hasConsistency"], two["totals"]["hasConsistency"]) == (True, False)
    assert load_gallery(tmp_path / "one")["consistency"] == [0.25, None]


def test_incomplete_run_counts_what_is_done(labelled, tmp_path):
    pathlib.Path(Layout(labelled).marker("shard-0")).unlink()
    write_report(labelled, str(tmp_path / "report"))
    (summary,) = load(tmp_path / "report" / "data" / "summary.js")
    assert [summary["totals"][key] for key in ("shards", "planned", "images", "rejected")] == [2, 3, 1, 0]


def test_output_without_rows_makes_a_report(tmp_path):
    page = write_report(write_output(tmp_path / "out", []), str(tmp_path / "report"))
    (summary,) = load(tmp_path / "report" / "data" / "summary.js")
    assert pathlib.Path(page).exists()
    assert (summary["totals"]["images"], summary["gallery"]["pages"]) == (0, 0)


def test_output_without_thumbnails_makes_a_report(tmp_path):
    out = write_output(tmp_path / "out", [row("a")], schema=image_schema({}, OutputSettings(), thumbnails=False))
    write_report(out, str(tmp_path / "report"))
    assert load_gallery(tmp_path / "report")["thumbnail"] == [0]


def test_comparison_with_an_output_without_thumbnails(tmp_path):
    this = write_output(tmp_path / "this", [row("a")])
    schema = image_schema({}, OutputSettings(), thumbnails=False)
    other = write_output(tmp_path / "other", [row("a")], schema=schema)
    write_report(this, str(tmp_path / "report"), compare=other)
    assert load_gallery(tmp_path / "report")["otherClass"] == [0]
    assert not (tmp_path / "report" / "thumbnails-other").exists()


def test_comparison_matches_images_by_bytes_and_classes_by_name(tmp_path):
    # the other model calls the same classes by other indices, and its run saw the images in another order
    there = {"x0": 25.0, "y0": 0.0, "x1": 75.0, "y1": 25.0, "score": 0.1}
    this = write_output(
        tmp_path / "this", [row("a", label=0), row("b", label=1), row("c"), row("only this", class_index=1)]
    )
    other_rows = [
        row("c", class_index=1, box=None) | {"class_name": "cat"},
        row("b", class_index=2, probability=0.7) | {"class_name": "dog"},
        row("a", class_index=1, box=there) | {"class_name": "cat"},
        row("only other"),
    ]
    other = write_output(tmp_path / "other", other_rows, class_names=["bird", "cat", "dog"])
    write_report(this, str(tmp_path / "report"), compare=other)
    (summary,) = load(tmp_path / "report" / "data" / "summary.js")
    compare = summary["compare"]
    assert (compare["both"], compare["onlyThis"], compare["onlyOther"], compare["sameClass"]) == (3, 1, 1, 2)
    # a: both cat, as labelled; b: this says cat, the other dog, as labelled
    assert compare["verdicts"] == [1, 0, 1, 0]
    # a's boxes share half of each: 1/3; b's are the same; c has only one
    assert compare["withBoxes"] == 2
    assert compare["meanIou"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-4)
    names = summary["classes"]["name"]
    assert [[names[a], names[b], n] for a, b, n in compare["differences"]] == [["cat", "dog", 1]]
    gallery = load_gallery(tmp_path / "report")
    assert [names[place] if place >= 0 else None for place in gallery["otherClass"]] == ["cat", "dog", "cat", None]
    others = tmp_path / "report" / "thumbnails-other" / "0000"
    assert [path.read_text() for path in sorted(others.iterdir())] == ["jpeg of a", "jpeg of b", "jpeg of c"]


def test_pairs_of_repeated_images(tmp_path):
    twice = write_output(tmp_path / "this", [row("a"), row("b"), row("a")])
    once = write_output(tmp_path / "other", [row("b"), row("a")])
    rows, other = (read_rows(open_output(path)) for path in (twice, once))
    assert pair(rows, other, NAMES, NAMES).row.tolist() == [1, 0, 1]
    write_report(twice, str(tmp_path / "report"), compare=once)
    others = tmp_path / "report" / "thumbnails-other" / "0000"
    assert [path.read_text() for path in sorted(others.iterdir())] == ["jpeg of a", "jpeg of b", "jpeg of a"]


def test_labels_beyond_the_models_classes_are_not_taken_for_the_other_models(tmp_path):
    # the other's "cow" becomes a class of its own, and must not get the number of the label 3
    this = write_output(tmp_path / "this", [row("a", label=3), row("b", label=0)])
    other = write_output(tmp_path / "other", [row("a"), row("b")], class_names=["cow"])
    write_report(this, str(tmp_path / "report"), compare=other)
    (summary,) = load(tmp_path / "report" / "data" / "summary.js")
    assert summary["classes"]["name"] == [*NAMES, "class 3", "cow"]
    assert summary["classes"]["labels"] == [1, 0, 0, 1, 0]
    assert summary["compare"]["differences"] == [[0, 4, 2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "{tmp}/nothing", "--output", "{tmp}/r"], "is not the output of a run"),
        (["--predictions", "{out}", "--output", "{out}"], "is not empty and not a report"),
        (["--predictions", "{out}", "--output", "gs://bucket/report"], "must be a local folder"),
        (["--predictions", "{out}", "--output", "{tmp}/r", "--gallery-images", "0"], "must be at least 1"),
        (["--predictions", "{out}", "--output", "{tmp}/r", "--compare", "{strange}"], "no image in common"),
    ],
)
def test_bad_usage_is_one_line(arguments, message, labelled, tmp_path, capfd):
    strange = write_output(tmp_path / "strange", [row("never seen")])
    words = [word.format(tmp=tmp_path, out=labelled, strange=strange) for word in arguments]
    assert cli.main(["report", *words]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_command_prints_the_page_and_replaces_an_earlier_report(labelled, tmp_path, capfd):
    words = ["report", "--predictions", labelled, "--output", str(tmp_path / "report")]
    assert cli.main(words) == 0
    stale = tmp_path / "report" / "thumbnails" / "0000" / "0000099.jpg"
    stale.write_bytes(b"of an earlier report")
    assert cli.main(words) == 0
    assert not stale.exists()
    assert str(tmp_path / "report" / "index.html") in capfd.readouterr().err


def test_demo_ends_with_its_report(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo, "NUM_SCENES", 4)
    monkeypatch.setenv("COLUMNS", "300")  # else the table cuts the path
    assert cli.main(["demo", "--output", str(tmp_path / "demo")]) == 0
    page = tmp_path / "demo" / "report" / "index.html"
    assert str(page) in capfd.readouterr().err
    assert page.exists()
    assert len(load_gallery(page.parent)["id"]) == 4
