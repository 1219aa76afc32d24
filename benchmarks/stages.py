"""What each stage of the pipeline costs on one core, and the speed that the cores of this machine could give at best.

The bound is cores / (sum of the stages' core-seconds per image); `benchmarks/pipeline.py` compares a real run with it.
"""

import os
import time
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from transforms.draw.settings import ThumbnailSettings
from transforms.draw.step import render_batch
from transforms.locate.settings import BoxSettings
from transforms.locate.step import locate_batch
from transforms.output import writer as shard_writer
from transforms.output.schema import image_schema, image_table
from transforms.output.settings import OutputSettings
from transforms.predict.tensorflow_engine import TensorFlowEngine
from transforms.read.batches import Decoder, OpenBatch
from transforms.read.fields import USUAL_FIELDS
from transforms.read.formats.registry import FORMATS
from transforms.records import Shard, ShardBatch

BATCH = 32


class StageCosts(NamedTuple):
    """Milliseconds of one core per image."""

    read: float
    decode: float
    predict: float
    locate: float
    render: float
    write: float

    def bound(self, cores: int) -> float:
        """Returns images/s."""
        return cores * 1000 / sum(self)


def measure(engine: TensorFlowEngine, tar_path: str, folder: str, images: int = 320) -> StageCosts:
    """Runs the stages one after the other, each alone; counts the processor time of the process."""
    shard = Shard("bench", tar_path, "webdataset", "", os.path.getsize(tar_path))
    samples, read = _timed(lambda: _first(FORMATS["webdataset"].read(shard, USUAL_FIELDS), images))
    decoder = Decoder(engine.side_px, preview_px=224)
    decoded, decode = _timed(lambda: _decode(shard, samples, decoder))
    unlabelled = [None] * BATCH
    engine.predict_piece(decoded[0].pixels, unlabelled[: len(decoded[0])])
    predicted, predict = _timed(
        lambda: [engine.predict_piece(batch.pixels, unlabelled[: len(batch)]) for batch in decoded]
    )
    batches = [replace(batch, predictions=found) for batch, found in zip(decoded, predicted, strict=True)]
    located, locate = _timed(lambda: [locate_batch(batch, BoxSettings()) for batch in batches])
    rendered, render = _timed(lambda: [render_batch(batch, ThumbnailSettings()) for batch in located])
    names = [f"class_{index}" for index in range(engine.num_classes)]
    _, write = _timed(lambda: _write(rendered, names, os.path.join(folder, "bench.parquet")))
    count = len(samples)
    return StageCosts(*(1000 * seconds / count for seconds in (read, decode, predict, locate, render, write)))


def _first(samples, count: int) -> list:
    return [sample for _, sample in zip(range(count), samples, strict=False)]


def _decode(shard: Shard, samples: list, decoder: Decoder) -> list[ShardBatch]:
    batches = []
    for start in range(0, len(samples), BATCH):
        batch = OpenBatch(shard, start, BATCH, decoder)
        batch.decode(0, samples[start : start + BATCH])
        batches.append(batch.close(is_last=False))
    return batches


def _timed(work):
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def _write(batches: list[ShardBatch], names: list[str], path: str) -> None:
    schema: pa.Schema = image_schema({}, OutputSettings())
    file = shard_writer.RowFile(path, schema, "zstd", 512)
    for batch in batches:
        file.write(image_table(batch, names, schema))
    file.close()
