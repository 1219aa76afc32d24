"""Shards to batches of decoded images, or straight to done where a shard was committed before."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam

from transforms.output.commit import committed, read_marker, withdraw
from transforms.output.layout import Layout
from transforms.output.row_files import are_whole
from transforms.read.batches import Decoder, read_batches
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.formats.registry import FORMATS
from transforms.records import Shard, ShardBatch
from transforms.store import retries
from transforms.worker import coder, live, metrics


@dataclass
class ReadShard(beam.PTransform):
    """Shards to batches of decoded images; a shard that is already committed becomes one batch that says so.

    Args:
      output: the output folder, where the markers of committed shards are.
      fingerprint: of the model and the settings: a marker with another one does not count.
      decoder: decodes the samples.
      batch_size: images and rejects in a batch; the last batch of a shard may have fewer.
      fields: where samples keep image, label and id.
    """

    output: str
    fingerprint: str
    decoder: Decoder
    batch_size: int = 32
    fields: Fields = USUAL_FIELDS

    def __post_init__(self) -> None:
        super().__init__()
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    def expand(self, shards: beam.PCollection[Shard]) -> beam.PCollection[ShardBatch]:
        coder.register()
        return shards | "ReadBatches" >> beam.ParDo(_ReadBatches(self)).with_output_types(ShardBatch)


class _ReadBatches(beam.DoFn):
    def __init__(self, settings: ReadShard):
        self._layout = Layout(settings.output)
        self._fingerprint, self._fields = settings.fingerprint, settings.fields
        self._decoder, self._batch_size = settings.decoder, settings.batch_size

    def process(self, shard: Shard) -> Iterator[ShardBatch]:
        retries.work_begins()
        marker = read_marker(self._layout, shard.shard_id)
        if (
            marker
            and committed(marker, shard, self._fingerprint)
            and are_whole(self._layout, marker, shard.output_bytes)
        ):
            metrics.count("shards_already_done")
            yield ShardBatch(shard, 0, read=0, is_last=True, done=marker)
            return
        if marker:
            withdraw(self._layout, shard.shard_id)
        ignored: Counter[str] = Counter()
        samples = FORMATS[shard.format].read(shard, self._fields, ignored)
        for batch in read_batches(shard, samples, self._decoder, self._batch_size):
            live.raise_if_stopped()
            if batch.is_last:  # the reader is at its end, and has counted all
                batch = replace(batch, ignored=ignored["members_ignored"])
            metrics.count_read(batch)
            yield batch
        for name, count in ignored.items():  # only now: the reader works in a thread that Beam does not know
            metrics.count(name, count)
