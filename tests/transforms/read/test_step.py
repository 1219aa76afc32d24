import hashlib
import itertools

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that

from tests.factories import encode, gradient, jpeg, shard, write_samples, write_tar
from transforms.output import commit
from transforms.output.layout import Layout
from transforms.read.formats import BadSample
from transforms.read.step import Decoder, ReadShard, read_batches
from transforms.records import ErrorType, Sample, ShardDone, Stage
from transforms.worker import live

DECODER = Decoder(side_px=8, preview_px=16)


def samples(count):
    return [Sample(f"{n}", f"u#{n}", jpeg(n), n) for n in range(count)]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, [0]), (1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])],
)
def test_batches_are_full_in_order_and_only_the_last_says_so(count, sizes):
    batches = list(read_batches(shard(), samples(count), DECODER, 4))
    assert [batch.read for batch in batches] == sizes
    assert [batch.is_last for batch in batches] == [False] * (len(sizes) - 1) + [True]
    assert [batch.first_index for batch in batches] == [0, *itertools.accumulate(sizes[:-1])]
    images = [image for batch in batches for image in batch.images]
    assert [image.index_in_shard for image in images] == list(range(count))
    assert [image.image_id for image in images] == [str(n) for n in range(count)]
    assert [image.label for image in images] == list(range(count))


def test_pixels_and_previews_are_the_models_and_the_thumbnails():
    (batch,) = read_batches(shard(), [Sample("x", "u", encode(gradient(32, 16)))], DECODER, 4)
    assert batch.pixels.shape == (1, 8, 8, 3)
    assert batch.images[0].preview.shape == (8, 16, 3)
    (batch,) = read_batches(shard(), [Sample("x", "u", encode(gradient(32, 16)))], Decoder(8), 4)
    assert batch.images[0].preview is None


def test_sha256_is_that_of_the_encoded_bytes():
    (batch,) = read_batches(shard(), samples(1), DECODER, 4)
    assert batch.images[0].sha256 == hashlib.sha256(jpeg(0)).hexdigest()


def test_rejects_keep_their_place_and_count_towards_a_batch():
    mixed = [
        Sample("good", "u#0", jpeg(0)),
        Sample("text", "u#1", b"hello"),
        BadSample("bad", "u#2", ErrorType.NO_IMAGE, "no image"),
        Sample("good too", "u#3", jpeg(3)),
        Sample("empty", "u#4", b""),
    ]
    first, second = read_batches(shard(), mixed, DECODER, 4)
    assert [image.index_in_shard for image in first.images] == [0, 3]
    assert len(first.pixels) == 2
    assert [(r.image_id, r.uri, r.index_in_shard, r.stage, r.error_type) for r in first.rejects + second.rejects] == [
        ("text", "u#1", 1, Stage.DECODE, ErrorType.UNKNOWN_FORMAT),
        ("bad", "u#2", 2, Stage.READ, ErrorType.NO_IMAGE),
        ("empty", "u#4", 4, Stage.DECODE, ErrorType.EMPTY),
    ]
    assert (second.images, second.pixels, second.read, second.is_last) == ([], None, 1, True)


def test_a_reader_that_fails_fails_the_batch():
    def failing():
        yield samples(1)[0]
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        list(read_batches(shard(), failing(), DECODER, 4))


def test_read_bytes_are_counted_for_the_progress():
    before = live.counts().read_bytes
    list(read_batches(shard(), samples(3), DECODER, 2))
    assert live.counts().read_bytes - before == sum(len(jpeg(n)) for n in range(3))


def run_read_shard(output, work, check, **changes):
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        settings = {"output": str(output), "fingerprint": "f", "decoder": DECODER, "batch_size": 4} | changes
        assert_that(pipeline | beam.Create([work]) | ReadShard(**settings), check)


def test_transform_reads_a_shard(tmp_path):
    def check(batches):
        assert [len(batch) for batch in sorted(batches, key=lambda batch: batch.first_index)] == [4, 4, 1]

    run_read_shard(tmp_path / "out", shard(write_samples(tmp_path / "a.tar", 9)), check)


def test_a_committed_shard_is_passed_on_unread(tmp_path):
    work = shard(tmp_path / "not-even-there.tar")
    done = ShardDone(work.shard_id, work.uri, work.version, "f", read=3, written=2, rejected=1)
    layout = Layout(str(tmp_path))
    images_file = tmp_path / "file"
    images_file.write_bytes(b"rows")
    commit.commit(layout, done, str(images_file), None)

    def check(batches):
        (batch,) = batches
        assert batch.done == done
        assert (batch.read, len(batch), batch.is_last) == (0, 0, True)

    run_read_shard(tmp_path, work, check)


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
