import dataclasses
import pathlib

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.factories import image, labelled_batch, shard
from transforms.errors import BrokenChainError
from transforms.output import commit
from transforms.output.layout import Layout
from transforms.output.schema import image_schema
from transforms.output.settings import OutputSettings
from transforms.output.writer import RowFile, WriteRows, WriteShard
from transforms.records import ShardDone
from transforms.store import files as store
from transforms.worker import live

CLASS_NAMES = [f"name {index}" for index in range(8)]
SHARD_ID = shard().shard_id


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path))


def writer(layout, **changes):
    schema = image_schema({}, OutputSettings())
    step = WriteShard(layout.root, "run", "f", schema, CLASS_NAMES, OutputSettings(), row_group_rows=4)
    return WriteRows(dataclasses.replace(step, **changes))


def write(layout, *batches, **changes):
    """Runs one bundle; returns what it yields."""
    bundle = writer(layout, **changes)
    bundle.start_bundle()
    try:
        done = [totals for batch in batches for totals in bundle.process(batch)]
        bundle.finish_bundle()
    finally:
        bundle.teardown()
    return done


def files(layout):
    root = pathlib.Path(layout.root)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 3, 3, 1], [4, 4, 2], [0, 5, 0, 5, 0]])
def test_row_groups_are_the_same_whatever_the_batches(tmp_path, sizes):
    values = pa.table({"n": list(range(10))})
    rows = RowFile(str(tmp_path / "rows.parquet"), values.schema, "zstd", 4)
    start = 0
    for size in sizes:
        rows.write(values[start : start + size])
        start += size
    rows.close()
    file = pq.ParquetFile(tmp_path / "rows.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [4, 4, 2]
    assert file.read()["n"].to_pylist() == list(range(10))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_equal_rows_give_equal_files(layout, tmp_path):
    write(layout, labelled_batch(5, is_last=False), labelled_batch(5, first=5))
    first = (tmp_path / "images" / f"{SHARD_ID}.parquet").read_bytes()
    write(layout, *(labelled_batch(1, first=index, is_last=index == 9) for index in range(10)))
    assert (tmp_path / "images" / f"{SHARD_ID}.parquet").read_bytes() == first


def test_a_shard_is_committed_at_its_last_batch(layout):
    bundle = writer(layout)
    bundle.start_bundle()
    assert list(bundle.process(labelled_batch(4, is_last=False))) == []
    assert all(name.startswith("_tmp/run/") for name in files(layout))
    (done,) = bundle.process(labelled_batch(2, first=4, rejected=1))
    assert done == ShardDone(
        shard_id=SHARD_ID,
        uri="/data/a.tar",
        input_version="1@1",
        fingerprint="f",
        read=7,
        written=6,
        rejected=1,
        rejects_by_type={"corrupt": 1},
        seconds=done.seconds,
        precision="float32",
        device="a processor",
        run_id="run",
        images_bytes=pathlib.Path(layout.images(SHARD_ID)).stat().st_size,
        rejects_bytes=pathlib.Path(layout.rejects(SHARD_ID)).stat().st_size,
    )
    assert done.seconds["predict"] == 1.0  # two batches of half a second
    assert "write" in done.seconds
    assert files(layout) == [
        f"_shards/{SHARD_ID}.json",
        f"images/{SHARD_ID}.parquet",
        f"rejects/{SHARD_ID}.parquet",
    ]
    assert store.read_json(layout.marker(SHARD_ID)) == dataclasses.asdict(done)
    assert pq.read_table(layout.images(SHARD_ID))["index_in_shard"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert pq.read_table(layout.rejects(SHARD_ID))["index_in_shard"].to_pylist() == [6]
    bundle.finish_bundle()


def test_an_empty_shard_is_a_file_without_rows(layout):
    (done,) = write(layout, labelled_batch(0))
    assert (done.read, done.written, done.rejected) == (0, 0, 0)
    assert pq.read_table(layout.images(SHARD_ID)).num_rows == 0
    assert files(layout) == [f"_shards/{SHARD_ID}.json", f"images/{SHARD_ID}.parquet"]


def test_several_shards_in_a_bundle(layout):
    other = shard("/data/b.tar")
    image(0)
    done = write(layout, labelled_batch(2), labelled_batch(3, of=other))
    assert [totals.written for totals in done] == [2, 3]
    assert pq.read_table(layout.images(other.shard_id))["shard_id"].to_pylist() == [other.shard_id] * 3


def test_a_shard_done_earlier_is_passed_on(layout):
    done = ShardDone(SHARD_ID, "u", "v", "f", 3, 3, 0)
    assert write(layout, labelled_batch(0, done=done)) == [done]
    assert files(layout) == []


def test_rejects_of_an_earlier_attempt_are_removed(layout):
    write(layout, labelled_batch(2, rejected=2))
    assert f"rejects/{SHARD_ID}.parquet" in files(layout)
    write(layout, labelled_batch(4))
    assert f"rejects/{SHARD_ID}.parquet" not in files(layout)


def test_a_shard_that_is_left_open_is_an_error_and_never_visible(layout):
    bundle = writer(layout)
    bundle.start_bundle()
    list(bundle.process(labelled_batch(4, is_last=False)))
    with pytest.raises(BrokenChainError, match=f"{SHARD_ID} was left unfinished.*Reshuffle.*has broken the chain"):
        bundle.finish_bundle()
    bundle.teardown()
    assert all(name.startswith("_tmp/") for name in files(layout))


@pytest.mark.parametrize(
    "batches",
    [
        [labelled_batch(4, first=4)],  # not from the start
        [labelled_batch(4, is_last=False), labelled_batch(4, first=8)],  # one is missing
        [labelled_batch(4, is_last=False), labelled_batch(4)],  # one comes twice
        [labelled_batch(4, is_last=False), labelled_batch(4, first=4, of=shard("/data/b.tar"))],  # another shard
        [labelled_batch(4, is_last=False), labelled_batch(4, of=shard("/data/b.tar"))],
    ],
)
def test_batches_out_of_order_are_an_error(layout, batches):
    with pytest.raises(BrokenChainError, match=r"got shard .* expected .* has broken the chain"):
        write(layout, *batches)
    assert not pathlib.Path(layout.marker_folder).exists()


def test_a_bundle_that_failed_leaves_nothing_for_the_next(layout):
    bundle = writer(layout)
    bundle.start_bundle()
    list(bundle.process(labelled_batch(4, is_last=False)))
    bundle.start_bundle()  # a retry in the same worker
    (done,) = bundle.process(labelled_batch(4))
    assert done.written == 4


def test_progress_counts_rows_and_rejects(layout):
    before = live.progress()
    write(layout, labelled_batch(2, rejected=1))
    after = live.progress()
    assert (after.written - before.written, after.rejected - before.rejected) == (2, 1)


def test_transform_yields_the_totals_and_keeps_the_writers_settings(layout):
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        settings = OutputSettings(compression="snappy", cams=False)
        schema = image_schema({}, settings, thumbnails=False)
        totals = (
            pipeline
            | beam.Create([2])
            | beam.Map(labelled_batch)
            | WriteShard(layout.root, "run", "f", schema, CLASS_NAMES, settings, row_group_rows=4)
        )
        totals | beam.Map(lambda done: pathlib.Path(layout.root, done.shard_id).touch())
    assert SHARD_ID in files(layout)
    file = pq.ParquetFile(layout.images(SHARD_ID))
    assert file.metadata.row_group(0).column(0).compression == "SNAPPY"
    assert "thumbnail" not in file.schema_arrow.names


def order_of_steps(monkeypatch):
    """Records the names of the files that become visible or go, in order."""
    steps = []
    rename, delete = store.rename, store.delete

    def note(verb, path):
        steps.append(f"{verb} {pathlib.Path(path).parent.name or '.'}/{pathlib.Path(path).name}")

    def recording_rename(source, destination):
        note("rename", destination)
        rename(source, destination)

    def recording_delete(path):
        note("delete", path)
        delete(path)

    monkeypatch.setattr(store, "rename", recording_rename)
    monkeypatch.setattr(store, "delete", recording_delete)
    return steps


def test_the_marker_becomes_visible_last(layout, monkeypatch):
    steps = order_of_steps(monkeypatch)
    write(layout, labelled_batch(2, rejected=1))
    write(layout, labelled_batch(2))
    image_file, reject_file, marker = f"images/{SHARD_ID}.parquet", f"rejects/{SHARD_ID}.parquet", f"{SHARD_ID}.json"
    assert steps == [
        f"rename {image_file}",
        f"rename {reject_file}",
        f"rename _shards/{marker}",
        f"rename {image_file}",
        f"delete {reject_file}",
        f"rename _shards/{marker}",
    ]


def test_attempts_have_files_of_their_own(layout):
    paths = {commit.attempt_path(layout, "run", SHARD_ID, "images") for _ in range(10)}
    assert len(paths) == 10
    assert all(path.startswith(f"{layout.root}/_tmp/run/{SHARD_ID}-images-") for path in paths)


def test_two_attempts_at_once_end_in_the_same_rows(layout):
    zombie, retry = writer(layout), writer(layout, run_id="other")
    for attempt in (zombie, retry):
        attempt.start_bundle()
    for first, is_last in ((0, False), (2, True)):
        for attempt in (zombie, retry):
            list(attempt.process(labelled_batch(2, first=first, is_last=is_last)))
    assert pq.read_table(layout.images(SHARD_ID))["index_in_shard"].to_pylist() == [0, 1, 2, 3]
