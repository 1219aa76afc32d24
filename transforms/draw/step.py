"""The Beam step that draws thumbnails."""

import functools
import time
from dataclasses import dataclass

import apache_beam as beam

from transforms.draw.settings import ThumbnailSettings
from transforms.draw.thumbnails import render
from transforms.records import ShardBatch
from transforms.worker.background import then
from transforms.worker.threads import map_in_pieces, thread_pool


@dataclass
class RenderThumbnails(beam.PTransform):
    """Adds to each image of a batch a thumbnail that shows its most probable class."""

    settings: ThumbnailSettings

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        work = functools.partial(render_batch, settings=self.settings)
        return batches | "Draw" >> beam.Map(then, work).with_output_types(ShardBatch)


def render_batch(batch: ShardBatch, settings: ThumbnailSettings) -> ShardBatch:
    """Returns the batch with its thumbnails."""
    if not batch.images:
        return batch
    started = time.perf_counter()

    def draw(row: int) -> bytes:
        boxes = batch.boxes[row][0] if settings.draw_boxes else []
        return render(batch.images[row], batch.labelled.cams[row, 0], boxes[0] if boxes else None, settings.quality)

    thumbnails = map_in_pieces(draw, range(len(batch)), thread_pool("render"))
    return batch.after("render", started, thumbnails=thumbnails)
