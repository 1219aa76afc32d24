"""The real command on real engines. Fetched and run only where CAMBEAM_ENGINES=1 asks for it."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.engines import compare
from tests.engines.flink import flink_mini
from tests.engines.portable import prism, python_job_service
from tests.engines.workers import ROOT
from tests.factories import tiny_model, write_samples

pytestmark = pytest.mark.skipif(
    os.environ.get("CAMBEAM_ENGINES") != "1",
    reason="CAMBEAM_ENGINES=1 is not set: no Prism, Flink or job service (see docs/flink-and-spark.md)",
)
ENGINES = {
    "prism": prism,
    "python-job-service-external": lambda: compare.in_pools(python_job_service),
    "flink-mini-external": lambda: compare.in_pools(flink_mini),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny_model(classes=8).save(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shards that take long enough to be interrupted, and one without images."""
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder / "00.tar", 60)
    for number in range(1, 60):
        os.link(folder / "00.tar", folder / f"{number:02d}.tar")
    write_samples(folder / "empty.tar", 0)
    return folder


def start(data, output, model, *options) -> subprocess.Popen:
    command = [sys.executable, "-m", "pipeline", "run", "--input", data, "--output", output, "--model", model]
    command += ["--set", "model.precision=float32", "--set", "model.batch_size=4", *options]
    wide = {**os.environ, "COLUMNS": "300"}
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=wide, stderr=subprocess.PIPE, text=True)


def wait_for(condition, job: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert job is None or job.poll() is None, job.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def in_process(data, tiny, tmp_path_factory):
    output = tmp_path_factory.mktemp("in-process")
    job = start(data, output, tiny)
    _, said = job.communicate(timeout=200)
    assert job.returncode == 0, said
    return compare.rows(output)


@pytest.mark.parametrize("name", ENGINES)
def test_the_rows_are_those_of_a_run_in_process(name, data, tiny, in_process, tmp_path):
    output = tmp_path / "out"
    with ENGINES[name]() as engine:
        job = start(data, output, tiny, *engine.options)
        _, said = job.communicate(timeout=200)
    assert job.returncode == 0, said
    assert "3600 images labelled" in said
    assert compare.rows(output).equals(in_process)
    assert len(in_process) == 60 * 60
    assert not list((output / "_tmp").glob("*"))


def test_a_remote_job_needs_neither_the_launcher_nor_its_model(data, tiny, in_process, tmp_path):
    """Once submitted, the model file goes, then Ctrl-C ends the launcher: the job comes to its end all the same."""
    output, model = tmp_path / "out", tmp_path / "mine.keras"
    model.write_bytes(tiny.read_bytes())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else a background job would pass on that it is ignored
    with ENGINES["flink-mini-external"]() as engine:
        job = start(data, output, model, *engine.options)
        wait_for(lambda: list((output / "_model").glob("*/mine.keras")), job)
        model.unlink()
        wait_for(lambda: compare.markers(output), job)
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=60)
        done_then = len(compare.markers(output))
        assert job.returncode == 130, said
        assert re.search(r"Left the job \S+ running", said)
        wait_for((output / "_SUCCESS").exists)
    assert 0 < done_then < 61
    assert compare.rows(output).equals(in_process)
    assert json.loads((output / "_run.json").read_text())["written"] == 3600


def test_ctrl_c_stops_a_run_whose_workers_are_in_its_process(data, tiny, tmp_path):
    output: pathlib.Path = tmp_path / "out"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with prism() as engine:
        job = start(data, output, tiny, *engine.options)
        wait_for(lambda: compare.markers(output), job)
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=60)
    assert job.returncode == 130, said
    assert "run the same command again to go on from there" in said
    assert not list((output / "_tmp").glob("*"))
    assert len(compare.markers(output)) < 61
