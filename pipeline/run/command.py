"""`cambeam run`: plans, checks, labels, and says what came of it."""

import dataclasses
import datetime
import logging
import os
import time
import uuid
from typing import Any, NamedTuple

import apache_beam as beam
import rich.console

from pipeline import __version__
from pipeline.config import Config
from pipeline.exit_code import ExitCode
from pipeline.run import beam_options, model_staging, progress
from pipeline.run import fingerprint as settings
from pipeline.run.execution import Execution, Terminated, root_cause
from pipeline.run.graph import Job, label_images
from pipeline.run.plan import make_plan
from pipeline.run.work import check_reachable, delete_temporary, find_work, layout_of, prepare
from transforms.model import load as model
from transforms.output.layout import Layout
from transforms.predict.engine import Engine, EngineSettings, shared_engine
from transforms.store import files as store
from transforms.worker.threads import num_cores

_NAMED_ERRORS = 5
_logger = logging.getLogger("cambeam")


class RunFlags(NamedTuple):
    """What a run is told besides its configuration.

    Attributes:
      overwrite: rows of another model or other settings are replaced.
      retry_failed: shards that have rejects are done again.
    """

    overwrite: bool = False
    retry_failed: bool = False


def run(config: Config, beam_flags: list[str], flags: RunFlags, console: rich.console.Console) -> ExitCode:
    """Labels a collection.

    Raises:
      UserError: one of UserError, PlanError, OptionError, ModelError: before the output is changed.
    """
    beam_flags = beam_options.merge(config.beam, beam_flags)
    options = beam_options.parse(beam_flags)
    layout = layout_of(config)
    if beam_options.is_dataflow(options):
        check_reachable([layout.root, *config.input.pattern])
    plan = make_plan(config.input, layout)
    row_settings, job = _resolve(config, layout)
    work = find_work(layout, plan, row_settings, flags.overwrite, flags.retry_failed)
    runner = beam_options.make_runner(options, beam_flags, len(work.left))
    pipeline = beam.Pipeline(runner, options)  # which checks the options: from here on the output may be changed
    for note in work.notes:
        console.print(note, highlight=False)
    remote, dry_run = beam_options.is_remote(options), beam_options.is_dry_run(options)
    if not dry_run:
        prepare(layout, plan, work, row_settings, job)
    if remote and not dry_run:
        staged = model_staging.stage(shared_engine(job.engine), layout, row_settings["model"])
        job = dataclasses.replace(job, engine=staged)
    label_images(pipeline, job)
    if beam_options.only_builds_job(options):
        pipeline.run()
        outcome = "nothing was written" if dry_run else "its launcher or a template run starts it"
        console.print(f"Built the job of {len(work.left)} shards; {outcome}.", highlight=False)
        return ExitCode.DONE
    in_process = beam_options.shares_process(options)
    source = progress.LiveSource(work.left) if in_process else progress.MarkerSource(layout, work.left)
    return _label(Execution(pipeline, remote), job, source, console)


def _label(execution: Execution, job: Job, source: progress.Source, console: rich.console.Console) -> ExitCode:
    """Executes a job to its end, with progress, and says what came of it."""
    layout, started, ended = Layout(job.output), time.monotonic(), False
    try:
        with progress.display(console) as display:
            execution.run_to_end(lambda: display.show(source.state()))
        ended = True
    except KeyboardInterrupt as interrupt:
        _say_what_goes_on(execution, console)
        return ExitCode.TERMINATED if isinstance(interrupt, Terminated) else ExitCode.INTERRUPTED
    except Exception as error:
        _logger.debug("the run failed", exc_info=True)
        console.print(f"The run failed: {root_cause(error)}", markup=False, highlight=False)
        if execution.remote and execution.job_id:
            ending = "its runner's own tools show whether it runs still, and can stop it."
            console.print(f"Its job is {execution.job_id}: {ending}", markup=False, highlight=False)
        console.print("What is committed stays; once the cause is mended, the same command goes on from there.")
        return ExitCode.FAILED
    finally:
        if not execution.remote or ended:  # else the job may be using its files still; a later run deletes them
            delete_temporary(layout, job.run_id)
    return _summarize(layout, job.config, source, started, console)


def _say_what_goes_on(execution: Execution, console: rich.console.Console) -> None:
    """Tells a user who interrupted a run what became of it."""
    if execution.remote:
        job_id = execution.job_id or "that was being submitted"
        console.print(f"Left the job {job_id} running; its runner's own tools can stop it.", highlight=False)
    else:
        console.print("Stopped. What is committed stays; run the same command again to go on from there.")


def _resolve(config: Config, layout: Layout) -> tuple[dict[str, Any], Job]:
    """Loads the model, which tells whether it can be used at all, and settles all that depends on it."""
    run_id = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    chosen = engine_settings(config)
    source = chosen.source
    engine: Engine = shared_engine(chosen)
    class_names = model.class_names(source, config.model.class_names, engine.num_classes)
    row_settings = settings.row_settings(config, model.fingerprint(source), class_names)
    row_fingerprint = settings.fingerprint(row_settings)
    classifier = engine.classifier
    about: dict[str, Any] = {
        "cambeam_version": __version__,
        "fingerprint": row_fingerprint,
        "model": {
            "name": classifier.name,
            "fingerprint": row_settings["model"],
            "head": classifier.head.description,
        },
        "num_classes": engine.num_classes,
        "config": config.model_dump(exclude={"output": {"path"}, "input": {"pattern"}, "beam": True}),
    }
    job = Job(
        config,
        layout.root,
        run_id,
        layout.temporary(run_id, "plan.jsonl"),
        row_fingerprint,
        chosen,
        engine.side_px,
        class_names,
        about,
    )
    return row_settings, job


def engine_settings(config: Config) -> EngineSettings:
    """Returns the part of a configuration that concerns the model; a local path becomes absolute."""
    source, cam, output = config.model.source, config.cam, config.output
    if source not in model.BUILT_IN and store.is_local(source):
        source = os.path.abspath(source)
    return EngineSettings(
        source,
        config.model.preprocess,
        config.model.precision,
        **cam.model_dump(),
        logits=output.logits,
        embeddings=output.embeddings,
        activations=output.activations,
        batch_size=_batch_size(config),
    )


def _batch_size(config: Config) -> int:
    """Returns the images of a batch; "auto" gives each core 16, of which a piece is made (see `engine.Engine`)."""
    size = config.model.batch_size
    return max(32, min(16 * num_cores(), 256)) if size == "auto" else size


def _summarize(
    layout: Layout, config: Config, source: progress.Source, started: float, console: rich.console.Console
) -> ExitCode:
    """Prints the last lines, and tells the exit code: what was rejected may be too much."""
    try:
        images, seconds = source.state(now=True).images, time.monotonic() - started
        summary = store.read_json(layout.summary)
        if summary is None:
            raise FileNotFoundError(f"{layout.summary} is gone")
    except Exception as error:
        message = f"The run has ended, but its totals can't be read: {root_cause(error)}"
        console.print(message, markup=False, highlight=False, soft_wrap=True)
        return ExitCode.FAILED
    rejected, read = summary["rejected"], summary["read"]
    speed = f" in {seconds:.1f} s ({images / seconds:.1f} images/s)" if images else ""
    console.print(f"{images} images labelled{speed}", highlight=False)
    console.print(
        f"total: {summary['written']} images, {rejected} rejected, {summary['shards']} shards", highlight=False
    )
    by_count = sorted(summary["rejects_by_type"].items(), key=lambda item: (-item[1], item[0]))
    for error_type, count in by_count[:_NAMED_ERRORS]:
        console.print(f"  {count} {error_type}", highlight=False)
    console.print(f"output: {layout.root}", highlight=False, soft_wrap=True)
    if rejected <= config.failures.max_fraction * read:
        return ExitCode.DONE
    console.print(
        f"{rejected} of {read} images were rejected, more than failures.max_fraction={config.failures.max_fraction} "
        f"allows; see {layout.rejects_folder}",
        highlight=False,
        soft_wrap=True,
    )
    return ExitCode.TOO_MANY_REJECTED
