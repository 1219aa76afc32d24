import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that

from tests.factories import shard, write_samples, write_tar
from transforms.output import commit
from transforms.output.layout import Layout
from transforms.read.batches import Decoder
from transforms.read.step import ReadShard
from transforms.records import ShardDone
from transforms.store import files as store
from transforms.worker import live

DECODER = Decoder(side_px=8, preview_px=16)


def run_read_shard(output, work, check, **changes):
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        settings = {"output": str(output), "fingerprint": "f", "decoder": DECODER, "batch_size": 4} | changes
        assert_that(pipeline | beam.Create([work]) | ReadShard(**settings), check)


def test_transform_reads_a_shard(tmp_path):
    def check(batches):
        assert [len(batch) for batch in sorted(batches, key=lambda batch: batch.first_index)] == [4, 4, 1]

    run_read_shard(tmp_path / "out", shard(write_samples(tmp_path / "a.tar", 9)), check)


def mark(layout, work, fingerprint):
    """Leaves the output that a run with this fingerprint would, of which all is done."""
    done = ShardDone(work.shard_id, work.uri, work.version, fingerprint, read=0, written=0, rejected=0)
    rows = layout.temporary("run", "rows")
    store.write_bytes(rows, b"rows", f"{rows}.part")
    commit.commit(layout, done, rows, None)
    store.write_bytes(layout.success, b"", f"{rows}.part")
    return done


def test_a_committed_shard_is_passed_on_unread(tmp_path):
    work = shard(tmp_path / "not-even-there.tar")
    done = mark(Layout(str(tmp_path)), work, "f")

    def check(batches):
        (batch,) = batches
        assert batch.done == done
        assert (batch.read, len(batch), batch.is_last) == (0, 0, True)

    run_read_shard(tmp_path, work, check)


def test_a_shard_that_was_done_with_other_settings_loses_its_marker_and_is_read(tmp_path):
    layout, work = Layout(str(tmp_path / "out")), shard(write_samples(tmp_path / "a.tar", 3))
    mark(layout, work, "other")

    def check(batches):
        assert [(batch.done, batch.read) for batch in batches] == [(None, 3)]

    run_read_shard(layout.root, work, check)
    assert (layout.marked(), store.exists(layout.success)) == ([], False)


def test_nothing_is_read_after_the_stop(tmp_path):
    live.stop()
    with pytest.raises(live.StoppedError):
        run_read_shard(tmp_path / "out", shard(write_samples(tmp_path / "a.tar", 1)), lambda batches: None)


def test_an_empty_tar_is_one_empty_last_batch(tmp_path):
    def check(batches):
        (batch,) = batches
        assert (batch.read, batch.is_last, batch.images, batch.rejects) == (0, True, [], [])

    run_read_shard(tmp_path / "out", shard(write_tar(tmp_path / "a.tar", [])), check)


def test_bad_batch_size_fails_at_construction():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        ReadShard("out", "f", DECODER, 0)
