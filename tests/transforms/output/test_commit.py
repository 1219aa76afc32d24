import dataclasses
import json
import os
import pathlib

import pyarrow.parquet as pq
import pytest

from tests.factories import labelled_batch, shard
from tests.transforms.output.test_writer import files, order_of_steps, write
from transforms.output import commit, row_files
from transforms.output.layout import Layout
from transforms.store import files as store

SHARD = shard()


@pytest.fixture
def done(tmp_path):
    """An output with one committed shard and _SUCCESS."""
    layout = Layout(str(tmp_path))
    write(layout, labelled_batch(2))
    pathlib.Path(layout.success).touch()
    return layout


@pytest.mark.parametrize(
    ("fingerprint", "version", "counts"),
    [("f", SHARD.version, True), ("other", SHARD.version, False), ("f", "2@2", False)],
)
def test_a_marker_counts_for_its_settings_and_its_input_and_asking_changes_nothing(done, fingerprint, version, counts):
    before = files(done)
    marker = commit.read_marker(done, SHARD.shard_id)
    assert (marker.shard_id, marker.written) == (SHARD.shard_id, 2)
    assert commit.committed(marker, shard(version=version), fingerprint) == counts
    assert files(done) == before


def test_no_marker_is_not_done(tmp_path):
    marker = commit.read_marker(Layout(str(tmp_path)), SHARD.shard_id)
    assert marker is None
    assert not commit.committed(marker, SHARD, "f")


def test_what_is_withdrawn_loses_success_first_and_then_the_marker(done, monkeypatch):
    steps = order_of_steps(monkeypatch)
    commit.withdraw(done, SHARD.shard_id)
    assert [step.rpartition("/")[2] for step in steps] == ["_SUCCESS", f"{SHARD.shard_id}.json"]
    assert files(done) == [f"images/{SHARD.shard_id}.parquet"]  # replaced by a rename when it is done again


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null1", '{"shard_id": "another"}', "MISSING", "TYPE", "OTHER"])
def test_a_marker_that_is_none_is_of_no_settings(done, text):
    path = pathlib.Path(done.marker(SHARD.shard_id))
    values = json.loads(path.read_text())
    del values["written"]
    texts = {"MISSING": values, "TYPE": values | {"written": "2"}, "OTHER": values | {"written": 2, "shard_id": "x"}}
    path.write_text(json.dumps(texts[text]) if text in texts else text)
    marker = commit.read_marker(done, SHARD.shard_id)
    assert not commit.committed(marker, SHARD, "f")
    assert marker is not None  # so that it is withdrawn, and _SUCCESS with it


def test_a_marker_of_a_later_version_counts(done):
    path = pathlib.Path(done.marker(SHARD.shard_id))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new": 1}))
    assert commit.committed(commit.read_marker(done, SHARD.shard_id), SHARD, "f")


def test_a_marker_keeps_the_sizes_of_its_files(done):
    marker = commit.read_marker(done, SHARD.shard_id)
    assert marker.images_bytes == pathlib.Path(done.images(SHARD.shard_id)).stat().st_size
    assert marker.rejects_bytes == 0
    assert row_files.wrong_file(done, marker) is None


@pytest.mark.parametrize("damage", ["gone", "empty", "half", "rows", "shard", "settings", "text"])
def test_rows_that_are_not_the_markers_are_noticed(done, damage, tmp_path):
    path = pathlib.Path(done.images(SHARD.shard_id))
    marker = commit.read_marker(done, SHARD.shard_id)
    content = path.read_bytes()
    others = {"rows": (3, SHARD.shard_id), "shard": (2, "other-1")}
    if damage == "gone":
        path.unlink()
    elif damage in others:
        count, shard_id = others[damage]
        other = Layout(str(tmp_path / "other"))
        (totals,) = write(other, labelled_batch(count, of=shard(shard_id=shard_id)))
        path.write_bytes(pathlib.Path(other.images(shard_id)).read_bytes())
        marker = dataclasses.replace(marker, images_bytes=totals.images_bytes)
    elif damage == "settings":
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"cambeam": json.dumps({"fingerprint": "other"})}), path)
        marker = dataclasses.replace(marker, images_bytes=path.stat().st_size)
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"x" * len(content)}[damage])
    assert row_files.wrong_file(done, marker) == str(path)
    assert not row_files.are_whole(done, marker, None)


def test_on_a_store_the_sizes_of_a_listing_are_compared_and_what_disagrees_is_asked_for_again(done, monkeypatch):
    marker = commit.read_marker(done, SHARD.shard_id)
    asked = []
    monkeypatch.setattr(store, "is_local", lambda path: False)
    monkeypatch.setattr(store, "exists", lambda path: asked.append(path) or "images" in path)
    assert row_files.are_whole(done, marker, None)
    assert row_files.are_whole(done, marker, (marker.images_bytes, 0))
    assert asked == []
    assert row_files.are_whole(done, marker, (1, 0))  # another run has committed it since
    assert len(asked) == 2


def test_a_run_that_is_overtaken_makes_nothing_visible(tmp_path):
    layout = Layout(str(tmp_path))
    store.write_json(layout.settings, {"of": "another run"}, layout.temporary("x", "settings"))
    with pytest.raises(commit.OvertakenError, match="other settings since this run began"):
        write(layout, labelled_batch(2))
    assert (layout.marked(), pathlib.Path(layout.images(SHARD.shard_id)).exists()) == ([], False)


def test_a_run_that_is_overtaken_while_it_commits_takes_its_marker_back(tmp_path, monkeypatch):
    layout = Layout(str(tmp_path))
    write_json = store.write_json

    def overtaken(path, value, temporary_path):
        write_json(path, value, temporary_path)
        write_json(layout.settings, {"of": "another run"}, layout.temporary("x", "settings"))
        pathlib.Path(layout.success).touch()

    monkeypatch.setattr(store, "write_json", overtaken)
    with pytest.raises(commit.OvertakenError):
        write(layout, labelled_batch(2))
    assert (layout.marked(), pathlib.Path(layout.success).exists()) == ([], False)


def test_local_files_are_flushed_before_the_marker(tmp_path, monkeypatch):
    steps, fsync = order_of_steps(monkeypatch), os.fsync

    def flushed(descriptor):
        steps.append("flush " + os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
    write(Layout(str(tmp_path)), labelled_batch(2, rejected=1))
    names = [step.replace(str(tmp_path), "").partition("/")[2].split("-")[0] for step in steps if "flush" in step]
    assert names == ["_tmp/run/a", "_tmp/run/a", "images", "rejects"]
    assert steps[-1].endswith(f"{SHARD.shard_id}.json")


def test_deleting_what_is_gone_is_no_error(tmp_path):
    store.delete(str(tmp_path / "gone"))
    store.delete_folder(str(tmp_path / "gone"))


@pytest.mark.parametrize("root", ["", "/", "//"])
def test_an_output_must_be_a_folder(root):
    with pytest.raises(ValueError, match="the output must be a folder"):
        Layout(root)


def test_paths_do_not_double_the_slash():
    assert Layout("gs://bucket/out/").marker("a") == "gs://bucket/out/_shards/a.json"
