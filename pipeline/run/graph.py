"""The Beam graph: from a plan to committed shards, one linear chain of one record type."""

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from pipeline.config import Config
from transforms.draw.step import RenderThumbnails
from transforms.locate.step import LocateObjects
from transforms.output.audit import Audit
from transforms.output.plan import read_run_plan
from transforms.output.schema import image_schema
from transforms.output.writer import WriteShard
from transforms.predict.engine import EngineSettings
from transforms.predict.step import CamModelHandler
from transforms.read.batches import Decoder
from transforms.read.step import ReadShard
from transforms.records import Shard


@dataclass(frozen=True)
class Job:
    """A run, with all that is resolved before it starts.

    Attributes:
      plan_path: the shards of this run.
      fingerprint: of the settings and the model, see `settings.fingerprint`.
      side_px: of the model's input.
      about: how the rows were made, for the file metadata and _run.json.
    """

    config: Config
    output: str
    run_id: str
    plan_path: str
    fingerprint: str
    engine: EngineSettings
    side_px: int
    class_names: list[str]
    about: dict[str, Any]


def label_images(pipeline: beam.Pipeline, job: Job) -> beam.PCollection:
    """Adds the steps of a run to a pipeline; returns the run's totals, known once all shards are audited."""
    config = job.config
    thumbnails = config.thumbnails
    planned = (
        pipeline
        | "Plan" >> beam.Create([job.plan_path])
        | "ReadPlan" >> beam.FlatMap(read_run_plan).with_output_types(Shard)
    )
    done = (
        planned
        # The one fusion break: shard names are dealt to the workers. What follows up to WriteShard must stay one stage,
        # else the batches of a shard would be shuffled, and held in memory by runners that shuffle there.
        | "Reshuffle" >> beam.Reshuffle()
        | "ReadShard"
        >> ReadShard(
            job.output,
            job.fingerprint,
            Decoder(job.side_px, config.model.resize, thumbnails.side_px if thumbnails.enabled else None),
            job.engine.batch_size,
            config.input,
        )
        | "Predict" >> RunInference(CamModelHandler(job.engine))
        | "Locate" >> LocateObjects(config.boxes)
    )
    if thumbnails.enabled:
        done |= "Render" >> RenderThumbnails(thumbnails)
    done |= "WriteShard" >> WriteShard(
        job.output,
        job.run_id,
        job.fingerprint,
        image_schema(job.about, config.output, thumbnails.enabled),
        job.class_names,
        config.output,
        row_group_rows=64 if config.output.activations else 512,  # a row with activations takes 400 KB
    )
    return (planned, done) | "Audit" >> Audit(job.output, job.run_id, config.failures, job.about)
