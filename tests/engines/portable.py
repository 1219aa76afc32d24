"""Beam's own portable runners: Prism, and the in-process runner behind a job service."""

import contextlib
import sys
from collections.abc import Iterator

from tests.engines.install import install
from tests.engines.processes import Engine, free_ports, listening, running_engine
from tests.engines.workers import portable_options, python_environment


@contextlib.contextmanager
def prism() -> Iterator[Engine]:
    """Prism, Beam's local runner in Go, which each run starts for itself."""
    with running_engine("prism") as engine:
        binary = install("prism") / "prism"
        engine.options = ["--runner=PrismRunner", f"--prism_location={binary}", "--environment_type=LOOPBACK"]
        yield engine


@contextlib.contextmanager
def python_job_service(environment: str) -> Iterator[Engine]:
    """Runs Beam's Python job service: one worker, no retries."""
    with running_engine("python-job-service") as engine:
        (port,) = free_ports(1)
        service = "apache_beam.runners.portability.local_job_service_main"
        flags = ["--port", port, "--staging_dir", engine.folder / "staged"]
        engine.start("job-service", [sys.executable, "-m", service, *flags], python_environment())
        engine.wait(lambda: listening(port), "job service")
        engine.options = portable_options(port, environment, engine.folder)
        yield engine
