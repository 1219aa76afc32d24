import os
import pathlib

import pytest

from pipeline.config import Config
from pipeline.run.job import Job
from pipeline.run.plan import Plan
from pipeline.run.work import Work, find_work, prepare
from tests.factories import shard
from transforms.errors import UserError
from transforms.output.layout import Layout
from transforms.output.plan import read_plan, write_plan
from transforms.predict.engine_settings import EngineSettings
from transforms.store import files as store

A, B, C, D = (shard(f"/data/{name}.tar") for name in "abcd")
RECIPE = {"model": "m", "config": {"boxes": {"threshold_frac": 0.4}}}
OTHER = {"model": "m", "config": {"boxes": {"threshold_frac": 0.5}}}


def job(layout, recipe):
    return Job(Config(), layout, "run", recipe, EngineSettings(), 224, ["cat"], {})


@pytest.fixture
def layout(tmp_path):
    """An output in which a and b are done, b with rejects, and a stranger."""
    layout = Layout(str(tmp_path))
    for shard_id in (A.shard_id, B.shard_id, "stranger"):
        store.write_json(layout.marker(shard_id), {}, layout.temporary("old", "file"))
    store.write_json(layout.rejects(B.shard_id), {}, layout.temporary("old", "file"))
    store.write_json(layout.settings, RECIPE, layout.temporary("old", "file"))
    store.write_json(layout.success, {}, layout.temporary("old", "file"))
    return layout


@pytest.mark.parametrize(
    ("changed", "retry_failed", "left", "again"),
    [([], False, [C], []), ([A.shard_id, C.shard_id], False, [A, C], [A]), ([], True, [B, C], [B])],
    ids=["new", "changed", "retry failed"],
)
def test_what_is_left_is_found_and_nothing_changed(layout, changed, retry_failed, left, again):
    before = store.files_below(layout.root)
    work = find_work(layout, Plan([A, B, C], [], changed, 0), RECIPE, True, retry_failed)
    assert (work.left, work.again) == (left, [shard.shard_id for shard in again])
    assert "1 shards in the output are not in this input; they stay, uncounted" in work.notes
    assert store.files_below(layout.root) == before


def test_other_settings_replace_all_that_is_there(layout):
    store.delete(layout.marker("stranger"))
    work = find_work(layout, Plan([A, B, C], [], [], 0), OTHER, True, False)
    assert (work.left, work.again) == ([A, B, C], [A.shard_id, B.shard_id])


def test_other_settings_are_refused(layout):
    with pytest.raises(UserError, match=r"other settings \(boxes.threshold_frac: 0.4 -> 0.5\): pass --overwrite"):
        find_work(layout, Plan([A], [], [], 0), OTHER, False, False)


def test_what_is_done_again_loses_its_marker_and_the_plan_is_kept(layout):
    prepare(layout, Plan([A, B], [C], [], 0), Work([A], [A.shard_id], []), job(layout, RECIPE))
    assert layout.marked() == sorted([B.shard_id, "stranger"])
    assert not store.exists(layout.success)
    assert list(read_plan(layout.plan)) == [A, B, C]
    assert list(read_plan(layout.temporary("run", "plan.jsonl"))) == [A, B]


def test_rows_of_two_settings_are_not_mixed(layout):
    with pytest.raises(UserError, match="1 shards of them are not in this input and would stay, stranger for one"):
        find_work(layout, Plan([A, B, C], [], [], 0), OTHER, True, False)


def test_shards_that_another_run_has_planned_since_are_kept(layout):
    write_plan(layout.plan, [B, A, D], layout.temporary("other", "plan"))
    prepare(layout, Plan([A, B], [C], [], 0), Work([], [], []), job(layout, RECIPE))
    assert list(read_plan(layout.plan)) == [A, B, C, D]


def test_temporary_files_of_others_go_after_a_day(layout):
    for run_id, age in (("yesterday", 25), ("today", 23)):
        path = pathlib.Path(layout.temporary(run_id, "rows.parquet"))
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (0, path.stat().st_mtime - age * 3600))
    prepare(layout, Plan([], [], [], 0), Work([], [], []), job(layout, RECIPE))
    assert sorted(path.name for path in pathlib.Path(layout.temporary_folder).iterdir()) == ["old", "run", "today"]
    assert store.exists(layout.success)
