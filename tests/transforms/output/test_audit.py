import json

import apache_beam as beam
import pytest

from tests.factories import shard
from transforms.output.audit import Audit, AuditError, Totals, check_shard, finish
from transforms.output.commit import OvertakenError
from transforms.output.layout import IMAGES, MARKERS, REJECTS, Layout
from transforms.output.settings import FailureSettings
from transforms.records import ShardDone

ALL = {MARKERS: 9, IMAGES: 9, REJECTS: 9}  # bytes
ABOUT = {"fingerprint": "f", "cambeam_version": "1"}


def done(name, read=10, written=9, rejected=1, **changes):
    planned = shard(f"/data/{name}.tar")
    values = {
        "fingerprint": "f",
        "rejects_by_type": {"corrupt": rejected},
        "seconds": {"predict": 1.5},
        "precision": "float32",
        "device": "a processor",
    }
    return ShardDone(
        planned.shard_id, planned.uri, "1@1", read=read, written=written, rejected=rejected, **(values | changes)
    )


@pytest.fixture
def layout(tmp_path):
    """An output with the files of the shards a and b."""
    for folder, suffix in (("_shards", "json"), ("images", "parquet"), ("rejects", "parquet")):
        (tmp_path / folder).mkdir()
        for name in ("a", "b", "a-00000000", "b-00000000"):
            (tmp_path / folder / f"{name}.{suffix}").write_text("{}")
    return Layout(str(tmp_path))


def test_a_shard_that_is_whole():
    totals = check_shard("a", 1, [done("a")], ALL)
    assert totals == Totals(
        1, 10, 9, 1, {"corrupt": 1}, {"predict": 1.5}, 0, frozenset(["float32"]), frozenset(["a processor"])
    )


def test_totals_add_up():
    other = done("b", 5, 3, 2, rejects_by_type={"empty": 2})
    total = check_shard("a", 1, [done("a")], ALL) + check_shard("b", 1, [other], ALL)
    assert (total.shards, total.read, total.written, total.rejected) == (2, 15, 12, 3)
    assert total.rejects_by_type == {"corrupt": 1, "empty": 2}
    assert total.seconds == {"predict": 3.0}


def test_a_shard_done_twice_counts_once():
    assert check_shard("a", 1, [done("a"), done("a")], ALL).read == 10


@pytest.mark.parametrize(
    ("planned", "found", "problem"),
    [
        (1, [], "a was not done"),
        (0, [done("a")], "a was done but not planned"),
        (1, [done("a", read=10, written=8, rejected=1)], "a-00000000 has 10 images, but 8 rows and 1 rejects"),
    ],
)
def test_what_is_wrong_is_said(planned, found, problem):
    assert check_shard("a", planned, found, ALL).problems == (problem,)


def test_a_shard_that_was_done_and_is_gone():
    (problem,) = check_shard("c", 1, [done("c")], {}).problems
    assert problem == "c-00000000 was done, but is gone from the output: run the same command again"


@pytest.mark.parametrize(
    ("written", "rejected", "present", "lost"),
    [
        (9, 1, {MARKERS, REJECTS}, "images/a-00000000.parquet"),
        (9, 1, {MARKERS, IMAGES}, "rejects/a-00000000.parquet"),
        (9, 1, {MARKERS}, "images/a-00000000.parquet and rejects/a-00000000.parquet"),
        (10, 0, {MARKERS, IMAGES}, None),
        (0, 10, {MARKERS, REJECTS}, None),
        (0, 0, {MARKERS}, None),
    ],
)
def test_files_that_a_marker_speaks_of_and_that_are_gone(written, rejected, present, lost):
    sizes = dict.fromkeys(present, 9)
    found = check_shard("a-00000000", 1, [done("a", written + rejected, written, rejected)], sizes).problems
    way_out = "restore that, or delete _shards/a-00000000.json and run the same command again"
    assert found == (() if lost is None else (f"a-00000000 has lost {lost}, or a part of it: {way_out}",))


def test_a_marker_of_another_input_is_neither_counted_nor_wrong():
    assert check_shard("stranger", 0, [], ALL) == Totals()


def test_of_many_problems_ten_are_named(layout, tmp_path):
    totals = sum((check_shard(f"s{n:02d}", 1, [], {}) for n in range(13)), Totals())
    (tmp_path / "_SUCCESS").touch()  # of an earlier run
    with pytest.raises(AuditError, match=r"not complete: s00 was not done; .*; s09 was not done, and 3 more$"):
        finish(totals, layout, "run", FailureSettings(max_fraction=1), ABOUT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_shards", "images", "rejects"]


@pytest.mark.parametrize(("max_fraction", "success"), [(0.1, True), (0.0999, False)])
def test_success_unless_too_much_was_rejected(layout, tmp_path, max_fraction, success):
    (tmp_path / "_SUCCESS").touch()  # of an earlier run
    finish(
        check_shard("a", 1, [done("a")], ALL),
        layout,
        "run",
        FailureSettings(max_fraction=max_fraction),
        ABOUT,
    )
    assert (tmp_path / "_SUCCESS").exists() == success
    summary = json.loads((tmp_path / "_run.json").read_text())
    assert (summary["run_id"], summary["read"], summary["rejected"]) == ("run", 10, 1)
    assert (summary["precisions"], summary["devices"]) == (["float32"], ["a processor"])
    assert summary["cambeam_version"] == "1"


def audit(tmp_path, planned, found):
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        both = (pipeline | "P" >> beam.Create(planned), pipeline | "D" >> beam.Create(found))
        _ = both | Audit(str(tmp_path), "run", FailureSettings(max_fraction=0.5), ABOUT)


@pytest.mark.usefixtures("layout")
def test_transform_ends_a_run(tmp_path):
    audit(tmp_path, [shard("/data/a.tar"), shard("/data/b.tar")], [done("b"), done("a")])
    assert json.loads((tmp_path / "_run.json").read_text())["shards"] == 2
    assert (tmp_path / "_SUCCESS").exists()


@pytest.mark.usefixtures("layout")
def test_transform_fails_where_a_shard_is_missing(tmp_path):
    with pytest.raises(Exception, match="b-00000000 was not done"):
        audit(tmp_path, [shard("/data/a.tar"), shard("/data/b.tar")], [done("a")])
    assert not (tmp_path / "_SUCCESS").exists()


def test_transform_fails_where_what_was_done_is_gone(tmp_path, layout):
    planned = [shard("/data/a.tar"), shard("/data/c.tar")]  # c has no marker
    with pytest.raises(Exception, match="c-00000000 was done, but is gone"):
        audit(tmp_path, planned, [done("a"), done("c")])
    assert not (tmp_path / "_SUCCESS").exists()


def test_transform_fails_where_nothing_was_done(tmp_path, layout):
    with pytest.raises(Exception, match="a-00000000 was not done"):
        audit(tmp_path, [shard("/data/a.tar")], [])


@pytest.mark.parametrize(
    ("images", "again", "problem"),
    [
        (9, None, None),
        (4, None, "a-00000000 has lost images/a-00000000.parquet, or a part of it"),
        (4, done("a", images_bytes=4, rejects_bytes=9), None),  # another run has done it since
        (4, done("a", fingerprint="g"), "a-00000000 was done again with other"),
    ],
)
def test_files_that_are_not_as_large_as_the_marker_says(images, again, problem):
    marker = done("a", images_bytes=9, rejects_bytes=9)
    present = {MARKERS: 9, IMAGES: images, REJECTS: 9}
    found = check_shard("a-00000000", 1, [marker], present, lambda shard_id: again).problems
    assert [text[: len(problem or "")] for text in found] == ([problem] if problem else [])


def test_a_shard_that_is_planned_twice_is_a_problem():
    """Two inputs of one id: the rows of the one would replace the other's."""
    assert check_shard("a", 2, [done("a")], ALL).problems == ("a is planned 2 times",)


def test_a_run_that_another_has_overtaken_leaves_the_end_to_it(layout, tmp_path):
    (tmp_path / "_SUCCESS").touch()  # the other's
    (tmp_path / "_plan").mkdir()
    (tmp_path / "_plan" / "settings.json").write_text('{"other": 1}')
    for totals in (check_shard("a", 1, [done("a")], ALL), check_shard("a", 1, [], {})):
        with pytest.raises(OvertakenError, match="another run has given"):
            finish(totals, layout, "run", FailureSettings(max_fraction=1), ABOUT)
    assert (tmp_path / "_SUCCESS").exists()
    assert not (tmp_path / "_run.json").exists()
