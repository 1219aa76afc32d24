import hashlib
import itertools

import numpy as np
import pytest

from tests.factories import encode, gradient, jpeg, shard
from transforms.read.batches import Decoder, read_batches
from transforms.read.decode import decode
from transforms.read.samples import BadSample
from transforms.records import ErrorType, Sample, Stage
from transforms.worker import live

DECODER = Decoder(side_px=8, preview_px=16)


def samples(count):
    return [Sample(f"{n}", f"u#{n}", jpeg(n), n) for n in range(count)]


def pixels_of(encoded):
    pixels = np.zeros((8, 8, 3), np.uint8)
    decode(Sample("", "", encoded), pixels, preview_px=16)  # as DECODER does
    return pixels


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, [0]), (1, [1]), (3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])],
)
def test_batches_are_full_in_order_and_only_the_last_says_so(count, sizes):
    batches = list(read_batches(shard(), samples(count), DECODER, 4))
    assert [batch.read for batch in batches] == sizes
    assert [batch.is_last for batch in batches] == [False] * (len(sizes) - 1) + [True]
    assert [batch.first_index for batch in batches] == [0, *itertools.accumulate(sizes[:-1])]
    for batch in batches:
        expected = [pixels_of(jpeg(image.index_in_shard)) for image in batch.images]
        np.testing.assert_array_equal(batch.pixels if expected else [], expected)
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
    np.testing.assert_array_equal(first.pixels, [pixels_of(jpeg(0)), pixels_of(jpeg(3))])
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
    before = live.progress().read_bytes
    list(read_batches(shard(), samples(3), DECODER, 2))
    assert live.progress().read_bytes - before == sum(len(jpeg(n)) for n in range(3))
