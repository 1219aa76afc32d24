"""Labelling a collection: planned, checked and run to its end, with a result or an error for whoever asked for it."""

import dataclasses
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import apache_beam as beam
import rich.console
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.config import Config
from pipeline.console import say
from pipeline.import_path import found_by_children
from pipeline.run import beam_options, model_staging, progress
from pipeline.run.execution import Execution, root_cause, wait_for_stopped
from pipeline.run.graph import label_images
from pipeline.run.job import Job, settle
from pipeline.run.plan import make_plan
from pipeline.run.work import Work, check_reachable, delete_temporary, find_work, layout_of, prepare
from transforms.errors import RunError
from transforms.predict.engines import shared_engine
from transforms.store import files as store
from transforms.worker import live

_GOES_ON = "What is committed stays; once the cause is mended, the same command goes on from there."
_CLEANING_S = 3.0  # after a run that failed or was stopped, perhaps as its store does not answer
_logger = logging.getLogger("cambeam")
_one_run = threading.Lock()  # counts, the wish to stop, and where stderr goes are the process's


class RunFlags(NamedTuple):
    """What a run is told besides its configuration.

    Attributes:
      overwrite: rows of another model or other settings are replaced.
      retry_failed: shards that have rejects are done again.
    """

    overwrite: bool = False
    retry_failed: bool = False


class Result(NamedTuple):
    """What came of a run that ended, or whose job was built to be started elsewhere.

    Attributes:
      job: that was run.
      images: labelled by this run.
      seconds: that this took.
      totals: of the output, the content of _run.json; None where the job was only built.
    """

    job: Job
    images: int = 0
    seconds: float = 0.0
    totals: dict[str, Any] | None = None

    @property
    def excess(self) -> str | None:
        """Says that more images were rejected than `failures.max_fraction` allows; None where that is not so."""
        rejected, read = (self.totals[name] if self.totals else 0 for name in ("rejected", "read"))
        allowed = self.job.config.failures.max_fraction
        if rejected <= allowed * read:
            return None
        too_many = f"{rejected} of {read} images were rejected, more than failures.max_fraction={allowed} allows"
        return f"{too_many}; see {self.job.layout.rejects_folder}"


def label(
    config: Config, beam_flags: Sequence[str], flags: RunFlags, console: rich.console.Console | None = None
) -> Result:
    """Labels a collection, or builds the job for it where Beam is told to do no more.

    There is one run at a time in a process; another call waits.

    Args:
      beam_flags: Beam's own options, which beat those of the configuration.
      console: gets notes and progress; None is told nothing.

    Raises:
      UserError: the input, the model or an option can't be used; the output is as it was.
      RunError: the run failed, or its totals can't be read.
      KeyboardInterrupt: the user stopped it, or only the waiting for a job elsewhere; the message says which.
    """
    with _one_run, found_by_children():
        wait_for_stopped()
        live.resume()
        return _label(config, beam_options.merge(config.beam, list(beam_flags)), flags, console)


def _label(config: Config, beam_flags: list[str], flags: RunFlags, console: rich.console.Console | None) -> Result:
    options = beam_options.parse(beam_flags)
    layout = layout_of(config)
    if beam_options.is_dataflow(options):
        check_reachable([layout.root, *config.input.pattern])
    plan = make_plan(config.input, layout)
    job = settle(config, layout)
    work = find_work(layout, plan, job.recipe, flags.overwrite, flags.retry_failed)
    runner = beam_options.make_runner(options, beam_flags, len(work.left))
    pipeline = beam_options.make_pipeline(runner, options)  # from here on the output may be changed
    for note in work.notes:
        say(console, note)
    if not beam_options.is_dry_run(options):
        prepare(layout, plan, work, job)
        if beam_options.is_remote(options):
            staged = model_staging.stage(job.engine, shared_engine(job.engine), layout, job.recipe["model"])
            job = dataclasses.replace(job, engine=staged)
    with _steps_named_as_anywhere():
        label_images(pipeline, job)
    if beam_options.only_builds_job(options):
        pipeline.run()
        outcome = (
            "nothing was written" if beam_options.is_dry_run(options) else "its launcher or a template run starts it"
        )
        say(console, f"Built the job of {len(work.left)} shards; {outcome}.")
        return Result(job)
    return _run_to_end(pipeline, options, job, work, console)


@contextmanager
def _steps_named_as_anywhere() -> Iterator[None]:
    """Keeps Beam from putting the number of a notebook's cell before the names of steps.

    It would import what an installation without Beam's notebook tools does not have, and what fails with pandas 3.
    """
    with_cell = beam.pipeline.alter_label_if_ipython
    beam.pipeline.alter_label_if_ipython = lambda transform, pvalueish: None
    try:
        yield
    finally:
        beam.pipeline.alter_label_if_ipython = with_cell


def _run_to_end(
    pipeline: beam.Pipeline, options: PipelineOptions, job: Job, work: Work, console: rich.console.Console | None
) -> Result:
    execution, started, ended = Execution(pipeline, beam_options.is_remote(options)), time.monotonic(), False
    in_process = beam_options.shares_process(options)
    source = progress.LiveSource(work.left) if in_process else progress.MarkerSource(job.layout, work.left)
    try:
        with progress.display(console) as display:
            execution.run_to_end(lambda: display.show(source.state()))
        ended = True
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)(_what_goes_on(execution)) from interrupt
    except Exception as error:
        _logger.debug("the run failed", exc_info=True)
        raise RunError(_why_it_failed(error, execution)) from error
    finally:
        if not execution.remote or ended:  # else the job may be using its files still; a later run deletes them
            cleaning = threading.Thread(target=delete_temporary, args=(job.layout, job.run_id), daemon=True)
            cleaning.start()
            cleaning.join(None if ended else _CLEANING_S)
    try:
        images, totals = source.state(now=True).images, store.read_json(job.layout.summary)
        if totals is None:
            raise FileNotFoundError(f"{job.layout.summary} is gone")
    except Exception as error:
        raise RunError(f"The run has ended, but its totals can't be read: {root_cause(error)}") from error
    return Result(job, images, time.monotonic() - started, totals)


def _what_goes_on(execution: Execution) -> str:
    """Tells a user who interrupted a run what became of it."""
    if not execution.remote:
        return "Stopped. What is committed stays; run the same command again to go on from there."
    job_id = execution.job_id or "that was being submitted"
    return f"Left the job {job_id} running; its runner's own tools can stop it."


def _why_it_failed(error: Exception, execution: Execution) -> str:
    lines = [f"The run failed: {root_cause(error)}"]
    if execution.remote and execution.job_id:
        ending = "its runner's own tools show whether it runs still, and can stop it."
        lines.append(f"Its job is {execution.job_id}: {ending}")
    return "\n".join([*lines, _GOES_ON])
