"""Samples to batches of decoded images: decoded ahead in a thread pool, in order."""

import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from transforms.read import decode as images
from transforms.read.samples import BadSample
from transforms.records import Image, Reject, Sample, Shard, ShardBatch, Stage
from transforms.store.credentials import redact
from transforms.worker import live, metrics
from transforms.worker.threads import Budget, map_ahead, thread_pool

_BATCHES_AHEAD = 2  # of a shard, decoded before they are asked for, so that the decoders work while the model does
_waiting = Budget(256 * 1024 * 1024)  # bytes of encoded images that wait for a decoder in this process
_PIECE_IMAGES, _PIECE_BYTES = 8, 256 * 1024  # of encoded images; whichever is reached first ends a piece
_MAX_TEXT = 4096  # characters of an id, a URI or a message


@dataclass(frozen=True)
class Decoder:
    """Decodes samples; the parameters are those of `images.decode`."""

    side_px: int
    resize: str = "squash"
    preview_px: int | None = None

    def __call__(self, indexed: tuple[int, Sample | BadSample]) -> "Decoded":
        """Returns the decoded image at (index_in_shard, sample), or the reject it becomes."""
        index, sample = indexed
        image_id, uri = as_text(sample.image_id), as_text(sample.uri)
        started = time.thread_time()
        if isinstance(sample, BadSample):
            reject = Reject(image_id, uri, index, Stage.READ, sample.error_type, as_text(sample.message))
            return Decoded(None, None, reject, 0.0, 0)
        try:
            decoded = images.decode(sample.encoded, self.side_px, self.resize, self.preview_px)
        except images.ImageError as error:
            reject = Reject(image_id, uri, index, Stage.DECODE, error.error_type, as_text(str(error)))
            return Decoded(None, None, reject, time.thread_time() - started, len(sample.encoded))
        image = Image(
            image_id=image_id,
            uri=uri,
            index_in_shard=index,
            label=sample.label,
            width=decoded.width,
            height=decoded.height,
            sha256=hashlib.sha256(sample.encoded).hexdigest(),
            view=decoded.view,
            preview=decoded.preview,
        )
        return Decoded(image, decoded.pixels, None, time.thread_time() - started, len(sample.encoded))


class Decoded(NamedTuple):
    """An image and the model's input for it, or a reject; the processor time it took and its encoded size."""

    image: Image | None
    pixels: np.ndarray | None
    reject: Reject | None
    seconds: float
    num_bytes: int


class _Piece(NamedTuple):
    """Consecutive samples that one thread decodes: to hand over each by itself would hold Python's lock for longer."""

    samples: list[tuple[int, Sample | BadSample]]
    num_bytes: int


def read_batches(
    shard: Shard,
    samples: Iterable[Sample | BadSample],
    decoder: Callable[[tuple[int, Sample | BadSample]], Decoded],
    batch_size: int,
) -> Iterator[ShardBatch]:
    """Decodes the samples of a shard in a thread pool and yields them in order, in batches of `batch_size`.

    Images and rejects count alike towards a batch. A shard without samples gives one empty last batch.
    """

    def decode(piece: _Piece) -> list[Decoded]:
        try:
            return [decoder(indexed) for indexed in piece.samples]
        finally:
            _waiting.give(piece.num_bytes)

    ahead = _BATCHES_AHEAD * batch_size
    pool = thread_pool("decode")
    pieces = map_ahead(decode, _pieces(samples), ahead, pool, lambda piece: len(piece.samples), ahead)
    decoded = itertools.chain.from_iterable(pieces)
    with contextlib.closing(pieces):
        first_index, following = 0, next(decoded, None)
        while True:
            entries = [] if following is None else [following, *itertools.islice(decoded, batch_size - 1)]
            following = next(decoded, None)
            yield _batch(shard, first_index, entries, is_last=following is None)
            if following is None:
                return
            first_index += len(entries)


def _pieces(samples: Iterable[Sample | BadSample]) -> Iterator[_Piece]:
    """Cuts samples into pieces, each of which waits for room in memory before it is handed on."""
    piece: list[tuple[int, Sample | BadSample]] = []
    num_bytes = 0
    for index, sample in enumerate(samples):
        piece.append((index, sample))
        num_bytes += _num_bytes(sample)
        if len(piece) == _PIECE_IMAGES or num_bytes >= _PIECE_BYTES:
            _waiting.take(num_bytes)
            yield _Piece(piece, num_bytes)
            piece, num_bytes = [], 0
    if piece:
        _waiting.take(num_bytes)
        yield _Piece(piece, num_bytes)


def as_text(text: str) -> str:
    """Returns what a stranger wrote as it may stand in a row: valid Unicode, not endless, without credentials."""
    return redact(text[:_MAX_TEXT].encode(errors="backslashreplace").decode())


def _num_bytes(sample: Sample | BadSample) -> int:
    return len(sample.encoded) if isinstance(sample, Sample) else 0


def _batch(shard: Shard, first_index: int, entries: list[Decoded], is_last: bool) -> ShardBatch:
    num_bytes = sum(entry.num_bytes for entry in entries)
    live.add(read_bytes=num_bytes)
    metrics.count("encoded_bytes", num_bytes)
    pixels = [entry.pixels for entry in entries if entry.pixels is not None]
    return ShardBatch(
        shard,
        first_index,
        read=len(entries),
        is_last=is_last,
        images=[entry.image for entry in entries if entry.image],
        pixels=np.stack(pixels) if pixels else None,
        rejects=[entry.reject for entry in entries if entry.reject],
        seconds={"decode": sum(entry.seconds for entry in entries)},
    )
