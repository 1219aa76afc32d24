import pathlib

import pytest

from tests.factories import labelled_batch, shard
from tests.transforms.output.test_writer import files, order_of_steps, write
from transforms.output import commit
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


def test_a_marker_that_is_no_json_says_which_file(done):
    pathlib.Path(done.marker(SHARD.shard_id)).write_text("{")
    with pytest.raises(ValueError, match=r"_shards/.*\.json is not a JSON file"):
        commit.read_marker(done, SHARD.shard_id)


def test_deleting_what_is_gone_is_no_error(tmp_path):
    store.delete(str(tmp_path / "gone"))
    store.delete_folder(str(tmp_path / "gone"))


@pytest.mark.parametrize("root", ["", "/", "//"])
def test_an_output_must_be_a_folder(root):
    with pytest.raises(ValueError, match="the output must be a folder"):
        Layout(root)


def test_paths_do_not_double_the_slash():
    assert Layout("gs://bucket/out/").marker("a") == "gs://bucket/out/_shards/a.json"
