"""Samples to batches of decoded images: decoded ahead in a thread pool, in order, into one array a batch."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from transforms.read.decode import ImageError, decode
from transforms.read.limits import MIB
from transforms.read.samples import BadSample
from transforms.records import Image, Reject, Sample, Shard, ShardBatch, Stage
from transforms.store.credentials import redact
from transforms.worker import live, metrics
from transforms.worker.threads import Budget, map_ahead, thread_pool

WAITING_BYTES = Budget(256 * MIB)  # of encoded images that wait for a decoder in this process
_BATCHES_AHEAD = 2  # of a shard, decoded before they are asked for, so that the decoders work while the model does
_PIECE_IMAGES, _PIECE_BYTES = 8, 256 * 1024  # of encoded images; whichever is reached first ends a piece
_MAX_TEXT = 4096  # characters of an id, a URI or a message


@dataclass(frozen=True)
class Decoder:
    """Decodes samples for a model whose input has this side; the other parameters are those of `decode.decode`."""

    side_px: int
    resize: str = "squash"
    preview_px: int | None = None

    def __call__(self, sample: Sample | BadSample, index_in_shard: int, pixels: np.ndarray) -> Image | Reject:
        """Returns the image that a sample is, what the model sees of it in `pixels`; or the reject it becomes."""
        image_id, uri = as_text(sample.image_id), as_text(sample.uri)
        if isinstance(sample, BadSample):
            return Reject(image_id, uri, index_in_shard, Stage.READ, sample.error_type, as_text(sample.message))
        try:
            sample = sample._replace(image_id=image_id, uri=uri)
            return decode(sample, pixels, self.resize, self.preview_px, index_in_shard)
        except ImageError as error:
            return Reject(image_id, uri, index_in_shard, Stage.DECODE, error.error_type, as_text(str(error)))


class OpenBatch:
    """Consecutive samples of a shard that become a batch. Any thread may decode any of them: each has a row."""

    def __init__(self, shard: Shard, first_index: int, size: int, decoder: Decoder):
        self._shard, self._first_index, self._decoder = shard, first_index, decoder
        self._pixels = np.empty((size, decoder.side_px, decoder.side_px, 3), np.uint8)
        self._outcomes: list[Image | Reject | None] = [None] * size
        self._seconds: list[float] = []
        self._num_bytes: list[int] = []

    def decode(self, first_row: int, samples: Sequence[Sample | BadSample]) -> None:
        """Decodes samples into the rows from the first on."""
        started = time.thread_time()
        for row, sample in enumerate(samples, first_row):
            self._outcomes[row] = self._decoder(sample, self._first_index + row, self._pixels[row])
            self._num_bytes.append(len(sample.encoded))
        self._seconds.append(time.thread_time() - started)

    def close(self, is_last: bool) -> ShardBatch:
        """Returns the batch of the samples that were decoded, in the thread of the step."""
        num_bytes = sum(self._num_bytes)
        live.add(read_bytes=num_bytes)
        metrics.count("encoded_bytes", num_bytes)
        images = {row: outcome for row, outcome in enumerate(self._outcomes) if isinstance(outcome, Image)}
        rejects = [outcome for outcome in self._outcomes if isinstance(outcome, Reject)]
        pixels = self._pixels[list(images)] if rejects else self._pixels[: len(images)]
        return ShardBatch(
            self._shard,
            self._first_index,
            read=len(images) + len(rejects),
            is_last=is_last,
            images=list(images.values()),
            pixels=pixels if images else None,
            rejects=rejects,
            seconds={"decode": sum(self._seconds)},
        )


def read_batches(
    shard: Shard, samples: Iterable[Sample | BadSample], decoder: Decoder, batch_size: int
) -> Iterator[ShardBatch]:
    """Decodes the samples of a shard in a thread pool and yields them in order, in batches of `batch_size`.

    Images and rejects count alike towards a batch. A shard without samples gives one empty last batch.
    """
    ahead = _BATCHES_AHEAD * batch_size
    pieces = _pieces(shard, samples, decoder, batch_size)
    decoded = map_ahead(_decode, pieces, thread_pool("decode"), ahead, cost=lambda piece: len(piece.samples))
    with contextlib.closing(decoded):
        batch = None
        for following in decoded:  # the batch of each piece
            if batch is not None and following is not batch:
                yield batch.close(is_last=False)
            batch = following
        yield (batch or OpenBatch(shard, 0, 0, decoder)).close(is_last=True)


class _Piece(NamedTuple):
    """Consecutive samples that one thread decodes: to hand over each by itself would hold Python's lock for longer."""

    batch: OpenBatch
    first_row: int
    samples: list[Sample | BadSample]

    @property
    def num_bytes(self) -> int:
        return sum(len(sample.encoded) for sample in self.samples)


def _pieces(shard: Shard, samples: Iterable[Sample | BadSample], decoder: Decoder, batch_size: int) -> Iterator[_Piece]:
    """Cuts samples into pieces of a batch each, each of which waits for room in memory before it is handed on."""
    piece = None
    for index, sample in enumerate(samples):
        row = index % batch_size
        if row == 0:
            batch = OpenBatch(shard, index, batch_size, decoder)
        piece = piece or _Piece(batch, row, [])
        piece.samples.append(sample)
        if len(piece.samples) == _PIECE_IMAGES or piece.num_bytes >= _PIECE_BYTES or row == batch_size - 1:
            WAITING_BYTES.take(piece.num_bytes)
            yield piece
            piece = None
    if piece:
        WAITING_BYTES.take(piece.num_bytes)
        yield piece


def _decode(piece: _Piece) -> OpenBatch:
    try:
        piece.batch.decode(piece.first_row, piece.samples)
        return piece.batch
    finally:
        WAITING_BYTES.give(piece.num_bytes)


def as_text(text: str) -> str:
    """Returns what a stranger wrote as it may stand in a row: valid Unicode, not endless, without credentials."""
    return redact(text[:_MAX_TEXT].encode(errors="backslashreplace").decode())
