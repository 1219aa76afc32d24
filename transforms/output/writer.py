"""Writing shards: rows stream to one Parquet file per input shard, committed at the batch that says it is the last."""

import collections
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import BrokenChainError
from transforms.output.commit import attempt_path, commit
from transforms.output.layout import Layout
from transforms.output.schema import REJECT_SCHEMA, image_table, reject_table
from transforms.output.settings import OutputSettings
from transforms.records import Reject, ShardBatch, ShardDone
from transforms.store import files as store
from transforms.worker import live, metrics
from transforms.worker.background import settled

_IN_FLIGHT = 2  # batches of a shard: one with the engine, and one that is located and drawn


class RowFile:
    """A Parquet file that grows by tables of any length and is cut into row groups of one fixed length."""

    def __init__(self, path: str, schema: pa.Schema, compression: str, row_group_rows: int):
        self.path, self.num_bytes = path, 0  # the bytes are known once it is closed
        self._schema, self._row_group_rows = schema, row_group_rows
        self._pending: list[pa.Table] = []
        store.make_folder_of(path)
        # on a store the file is uploaded at its end, from a local one, so that a failed upload can be made again
        self._file = open(path, "wb") if store.is_local(path) else tempfile.TemporaryFile()
        self._writer = pq.ParquetWriter(self._file, schema, compression=compression)

    def write(self, table: pa.Table) -> None:
        """Appends rows."""
        self._pending.append(table)
        while sum(map(len, self._pending)) >= self._row_group_rows:
            rows = pa.concat_tables(self._pending)
            self._writer.write_table(rows[: self._row_group_rows])
            self._pending = [rows[self._row_group_rows :]]

    def close(self) -> None:
        """Writes what is left and ends the file."""
        rows = pa.concat_tables([self._schema.empty_table(), *self._pending])
        if len(rows):
            self._writer.write_table(rows)
        self._writer.close()
        self.num_bytes = self._file.tell()
        if store.is_local(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
        else:
            store.upload(self.path, self._file)
        self._file.close()

    def abandon(self) -> None:
        """Lets go of the file as far as it can be; it stays under _tmp and is never renamed."""
        for file in (self._writer, self._file):
            with contextlib.suppress(Exception):
                file.close()


@dataclass
class WriteShard(beam.PTransform):
    """Labelled batches to committed shards: Parquet files, rejects, markers. Yields one ShardDone per shard.

    Args:
      output: the output folder.
      run_id: of this run; names its temporary files.
      fingerprint: of the model and the settings, kept in the markers.
      schema: of the rows, from `schema.image_schema`.
      class_names: of all the model's classes.
      settings: the Parquet codec, and whether class maps are kept.
      row_group_rows: rows in a row group; fixed, so that equal rows give equal files.
    """

    output: str
    run_id: str
    fingerprint: str
    schema: pa.Schema
    class_names: list[str]
    settings: OutputSettings
    row_group_rows: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | "WriteRows" >> beam.ParDo(WriteRows(self)).with_output_types(ShardDone)


class _OpenShard:
    """A shard of which some batches are written."""

    def __init__(self, writer: "WriteRows", first: ShardBatch):
        self.shard, self.next_index = first.shard, 0
        self.in_flight: collections.deque[ShardBatch] = collections.deque()
        self.written, self.device, self.precision = 0, "", ""
        self.rejects: list[Reject] = []
        self.ignored = 0
        self.seconds: dict[str, float] = {}
        path = attempt_path(writer.layout, writer.run_id, first.shard.shard_id, "images")
        self.rows = RowFile(path, writer.schema, writer.compression, writer.row_group_rows)

    def add(self, batch: ShardBatch, table: pa.Table) -> None:
        self.rows.write(table)
        self.written += len(batch)
        self.rejects += batch.rejects
        self.ignored += batch.ignored
        for stage, seconds in batch.seconds.items():
            self.add_seconds(stage, seconds)
        self.device, self.precision = batch.device or self.device, batch.precision or self.precision

    def add_seconds(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


class WriteRows(beam.DoFn):
    """Writes the batches of a bundle; a shard is committed at its last batch."""

    def __init__(self, step: WriteShard):
        self.layout = Layout(step.output)
        self.run_id, self.fingerprint = step.run_id, step.fingerprint
        self.schema, self.class_names = step.schema, step.class_names
        self.compression, self.cams = step.settings.compression, step.settings.cams
        self.row_group_rows = step.row_group_rows
        self._open: _OpenShard | None = None

    def start_bundle(self) -> None:
        self._abandon()  # what a bundle that failed has left

    def teardown(self) -> None:
        self._abandon()

    def process(self, batch: ShardBatch) -> Iterator[ShardDone]:
        if batch.done:
            yield batch.done
            return
        self._check_order(batch)
        if self._open is None:
            self._open = _OpenShard(self, batch)
        self._open.next_index += batch.read
        self._open.in_flight.append(batch)
        while len(self._open.in_flight) >= (1 if batch.is_last else _IN_FLIGHT):
            self._write(settled(self._open.in_flight.popleft()), self._open)
        if batch.is_last:
            done, self._open = self._open, None
            yield self._commit(done)

    def finish_bundle(self) -> None:
        if self._open:
            raise BrokenChainError.about(f"shard {self._open.shard.shard_id} was left unfinished")

    def _write(self, batch: ShardBatch, to: _OpenShard) -> None:
        live.raise_if_stopped()  # the run's temporary files may be gone
        started = time.perf_counter()
        to.add(batch, image_table(batch, self.class_names, self.schema, self.cams))
        to.add_seconds("write", time.perf_counter() - started)
        live.add(written=len(batch), rejected=len(batch.rejects))
        metrics.count_labelled(batch)
        metrics.count("images_written", len(batch))
        metrics.observe("batch_write_ms", 1000 * (time.perf_counter() - started))

    def _abandon(self) -> None:
        if self._open:
            self._open.rows.abandon()
            self._open = None

    def _check_order(self, batch: ShardBatch) -> None:
        shard, index = (self._open.shard, self._open.next_index) if self._open else (batch.shard, 0)
        if (batch.shard.shard_id, batch.first_index) != (shard.shard_id, index):
            got, expected = f"{batch.shard.shard_id} at {batch.first_index}", f"{shard.shard_id} at {index}"
            raise BrokenChainError.about(f"got shard {got}, expected {expected}")

    def _commit(self, done: _OpenShard) -> ShardDone:
        started, shard_id, rejects_path, rejects_bytes = time.perf_counter(), done.shard.shard_id, None, 0
        done.rows.close()
        if done.rejects:
            rejects_path = attempt_path(self.layout, self.run_id, shard_id, "rejects")
            rejects_file = RowFile(rejects_path, REJECT_SCHEMA, self.compression, self.row_group_rows)
            rejects_file.write(reject_table(done.rejects))
            rejects_file.close()
            rejects_bytes = rejects_file.num_bytes
        totals = ShardDone(
            shard_id=shard_id,
            uri=done.shard.uri,
            input_version=done.shard.version,
            fingerprint=self.fingerprint,
            read=done.next_index,
            written=done.written,
            rejected=len(done.rejects),
            rejects_by_type=dict(collections.Counter(str(reject.error_type) for reject in done.rejects)),
            seconds={stage: round(seconds, 3) for stage, seconds in done.seconds.items()},
            precision=done.precision,
            device=done.device,
            run_id=self.run_id,
            ignored=done.ignored,
            images_bytes=done.rows.num_bytes,
            rejects_bytes=rejects_bytes,
        )
        commit(self.layout, totals, done.rows.path, rejects_path)
        metrics.count("shards_committed")
        metrics.count("committed_bytes", done.rows.num_bytes)
        metrics.observe("shard_commit_ms", 1000 * (time.perf_counter() - started))
        return totals
