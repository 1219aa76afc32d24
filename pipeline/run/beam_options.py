"""Which runner a run is for, and the Beam options that it gets."""

import argparse
import itertools
import logging
from collections.abc import Mapping
from typing import Any, NoReturn

import apache_beam as beam
import grpc
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
    StandardOptions,
    TestOptions,
)
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from transforms.errors import UserError
from transforms.worker.threads import num_cores

_BEAMS_RUNNERS = {name.lower(): name for name in StandardOptions.KNOWN_RUNNER_NAMES}
_IN_PROCESS = (None, "DirectRunner", "FnApiRunner")
_OWN_OPTIONS_ONLY = (*_IN_PROCESS, "DataflowRunner")  # others are behind a job server, which has options of its own
ANSWER_SECONDS = 20.0  # that a job server has to take a connection
_logger = logging.getLogger("cambeam")


class OptionError(UserError):
    """An option that neither cambeam nor Beam knows, or a bad value; the message is one line for the user."""


def merge(configured: Mapping[str, Any], flags: list[str]) -> list[str]:
    """Returns the options of a configuration as flags, but for those that the command line gives too, then these.

    A list is added to: of it, the command line replaces what has the same key before an equals sign, as in
    `--dataflow_service_options=worker_accelerator=...`.
    """
    given, items = set(), set()
    for flag, following in itertools.pairwise([*flags, ""]):
        name, equals, value = flag.removeprefix("--").partition("=")
        given.add(name)
        items.add((name, (value if equals else following).partition("=")[0]))
    merged = []
    for name, value in configured.items():
        if isinstance(value, list):
            values = [one for one in value if (name, str(one).partition("=")[0]) not in items]
        else:
            values = [] if name in given else [value]
        merged += [f"--{name}" if one is True else f"--{name}={one}" for one in values]
    return merged + flags


def parse(flags: list[str]) -> PipelineOptions:
    """Returns the Beam options of the command line.

    Raises:
      OptionError: a value of the wrong type, or an option that nobody knows; runners behind a job server may know
        options that Beam does not, so for them it is a warning.
    """
    options = PipelineOptions(flags)
    standard = options.view_as(StandardOptions)
    runner = standard.runner = _runner_name(standard.runner)
    unknown: list[str] = []

    def inspect(parser: argparse.ArgumentParser) -> None:
        def fail(message: str) -> NoReturn:
            raise OptionError(message)

        parser.error = fail  # type: ignore[method-assign] # else it would end the process
        unknown.extend(parser.parse_known_args(flags)[1])

    options.get_all_options(add_extra_args_fn=inspect)
    FileSystems.set_options(options)  # credentials and endpoints of stores
    if unknown and runner in _OWN_OPTIONS_ONLY:
        raise OptionError(f"neither cambeam nor Beam knows the option {unknown[0]}")
    if unknown:
        _logger.warning("options passed to %s that Beam does not know: %s", runner, " ".join(unknown))
    return options


def _runner_name(given: str | None) -> str | None:
    """Returns the one name of a runner of Beam's, which takes it in any case, without "Runner", or with its module."""
    name = (given or "").lower()
    if name.startswith("apache_beam."):
        name = name.rpartition(".")[2]
    return _BEAMS_RUNNERS.get(name) or _BEAMS_RUNNERS.get(f"{name}runner", given)


def is_in_process(options: PipelineOptions) -> bool:
    """Tells whether the run is for Beam's in-process runner: no runner named, or the DirectRunner."""
    return options.view_as(StandardOptions).runner in _IN_PROCESS


def shares_process(options: PipelineOptions) -> bool:
    """Tells whether the workers are threads of this process."""
    return is_in_process(options) and options.view_as(DirectOptions).direct_running_mode != "multi_processing"


def is_dataflow(options: PipelineOptions) -> bool:
    """Tells whether the run is for Google Cloud Dataflow."""
    return options.view_as(StandardOptions).runner == "DataflowRunner"


def is_dry_run(options: PipelineOptions) -> bool:
    """Tells whether a job is built for Dataflow and thrown away; other runners don't know dry runs."""
    return is_dataflow(options) and bool(options.view_as(TestOptions).dry_run)


def only_builds_job(options: PipelineOptions) -> bool:
    """Tells whether there is nothing to wait for: a dry run, or a Dataflow template, which its launcher runs later."""
    return is_dry_run(options) or bool(options.view_as(GoogleCloudOptions).template_location)


def is_remote(options: PipelineOptions) -> bool:
    """Tells whether the work goes on without this process, on workers that need not see this machine's files.

    It does not with LOOPBACK, where a job server sends the work back here; Beam's own choice where it starts the
    engine itself.
    """
    if is_in_process(options):
        return False
    engine_started_here = {
        "PrismRunner": True,
        "FlinkRunner": options.view_as(FlinkRunnerOptions).flink_master in ("[auto]", "[local]"),
        "SparkRunner": options.view_as(SparkRunnerOptions).spark_master_url.startswith("local"),
    }
    chosen = options.view_as(PortableOptions).environment_type
    if chosen:
        return chosen != "LOOPBACK"
    return not engine_started_here.get(options.view_as(StandardOptions).runner, False)


def make_runner(options: PipelineOptions, flags: list[str], num_shards: int) -> PipelineRunner:
    """Returns the runner, and fills in what the user left to us: for the in-process runner, threads on all cores.

    Beam's own DirectRunner would first try to download Prism, which ignores `direct_num_workers`.
    """
    if not is_in_process(options):
        name = options.view_as(StandardOptions).runner
        try:
            runner = create_runner(name)
        except (ImportError, AttributeError) as error:
            raise OptionError(f"can't use the runner {name}: {error}") from error
        return _started(runner, options)
    direct = options.view_as(DirectOptions)
    given = {flag.partition("=")[0] for flag in flags}
    if "--direct_running_mode" not in given:
        direct.direct_running_mode = "multi_threading"
    if direct.direct_num_workers < 0:
        raise OptionError(f"--direct_num_workers={direct.direct_num_workers}: expected a number, or 0 for all cores")
    if "--direct_num_workers" not in given:
        direct.direct_num_workers = max(1, min(num_cores(), num_shards))
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(info))


def make_pipeline(runner: PipelineRunner, options: PipelineOptions) -> beam.Pipeline:
    """Returns an empty pipeline.

    Raises:
      OptionError: Beam finds that the options do not fit together.
    """
    try:
        return beam.Pipeline(runner, options)
    except ValueError as error:
        raise OptionError(str(error)) from error


def _started(runner: PipelineRunner, options: PipelineOptions) -> PipelineRunner:
    """Returns a runner whose job server, if it has one, is up: one that answers, or one started here.

    Beam would wait for the first without end. It would start the second when the job is submitted, and have it take
    SIGINT, which only the main thread can do; jobs are submitted in another one (see `execution.Execution`).
    """
    if not isinstance(runner, PortableRunner):
        return runner
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint:
        with grpc.insecure_channel(endpoint) as channel:
            try:
                grpc.channel_ready_future(channel).result(ANSWER_SECONDS)
            except grpc.FutureTimeoutError as error:
                raise OptionError(f"no job server answers at --job_endpoint={endpoint}") from error
        return runner
    try:
        server = runner.default_job_server(options)
        server.start()
    except Exception as error:  # no endpoint, no binary, no Java, no network: each runner has its own
        raise OptionError(f"{type(runner).__name__} could not start its job server: {error}") from error
    runner.default_job_server = lambda _: server  # type: ignore[method-assign] # else it would start another
    return runner
