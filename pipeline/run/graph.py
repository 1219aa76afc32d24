"""The Beam graph: from a plan to committed shards, one linear chain of one record type."""

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from pipeline.run.job import Job
from transforms.draw.step import RenderThumbnails
from transforms.locate.step import LocateObjects
from transforms.output.audit import Audit
from transforms.output.plan import read_run_plan
from transforms.output.schema import image_schema
from transforms.output.writer import WriteShard
from transforms.predict.step import CamModelHandler
from transforms.read.batches import Decoder
from transforms.read.step import ReadShard
from transforms.records import Shard, ShardBatch


def label_images(pipeline: beam.Pipeline, job: Job) -> beam.PCollection:
    """Adds the steps of a run to a pipeline; returns the run's totals, known once all shards are audited."""
    config = job.config
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
        | "ReadShard" >> _read_shard(job)
        | "Predict" >> RunInference(CamModelHandler(job.engine)).with_output_types(ShardBatch)
        | "Locate" >> LocateObjects(config.boxes)
    )
    if config.thumbnails.enabled:
        done |= "Render" >> RenderThumbnails(config.thumbnails)
    done |= "WriteShard" >> _write_shard(job)
    return (planned, done) | "Audit" >> Audit(job.layout.root, job.run_id, config.failures, job.about)


def _read_shard(job: Job) -> ReadShard:
    thumbnails = job.config.thumbnails
    return ReadShard(
        job.layout.root,
        job.fingerprint,
        Decoder(job.side_px, job.config.model.resize, thumbnails.side_px if thumbnails.enabled else None),
        job.engine.batch_size,
        job.config.input,
    )


def _write_shard(job: Job) -> WriteShard:
    output = job.config.output
    return WriteShard(
        job.layout.root,
        job.run_id,
        job.fingerprint,
        image_schema(job.about, output, job.config.thumbnails.enabled),
        job.class_names,
        output,
        row_group_rows=64 if output.activations else 512,  # a row with activations takes 400 KB
    )
