"""Apache Spark behind Beam's job server: in one process, and as a cluster of separate processes."""

import contextlib
import pathlib
from collections.abc import Iterator

from tests.engines.install import install
from tests.engines.java import java, start_job_server
from tests.engines.processes import Engine, free_ports, get_json, listening, running_engine
from tests.engines.workers import hosts_file, portable_options

_JOB_SERVER = "org.apache.beam.runners.spark.SparkJobServerDriver"
_WORKERS = 2


@contextlib.contextmanager
def spark_local(environment: str) -> Iterator[Engine]:
    """Runs Spark inside the job server, with two threads."""
    home = install("spark")
    with running_engine("spark-local") as engine:
        port = _start_job_server(engine, home, "local[2]")
        engine.options = portable_options(port, environment, engine.folder)
        yield engine


@contextlib.contextmanager
def spark_standalone(environment: str) -> Iterator[Engine]:
    """Runs a master, two workers of one core each, which start executors, and a job server."""
    home = install("spark")
    with running_engine("spark") as engine:
        master, *pages = free_ports(2 + _WORKERS)
        flags = ["--host", "localhost", "--port", master, "--webui-port", pages[0]]
        engine.start("master", java(home, "org.apache.spark.deploy.master.Master", *flags), _variables(home))
        engine.wait(lambda: listening(master), "master")
        url = f"spark://localhost:{master}"
        for index in range(_WORKERS):
            folder = engine.folder / f"work-{index}"
            flags = ["--host", "localhost", "--webui-port", pages[1 + index], "--work-dir", folder]
            flags += ["--cores", 1, "--memory", "600m", url]
            command = java(home, "org.apache.spark.deploy.worker.Worker", *flags, memory="256m")
            engine.start(f"worker-{index}", command, _variables(home) | hosts_file(engine, index))
        port = _start_job_server(engine, home, url)
        engine.wait(lambda: get_json(pages[0], "/json/").get("aliveworkers") == _WORKERS, "cluster")
        staged = min((home / "jars").iterdir(), key=lambda jar: jar.stat().st_size)  # the executors have the jars
        engine.options = [*portable_options(port, environment, engine.folder), f"--files_to_stage={staged}"]
        yield engine


def _start_job_server(engine: Engine, home: pathlib.Path, master: str) -> int:
    settings = {
        "spark.ui.enabled": "false",
        "spark.local.dir": engine.folder,
        "spark.driver.host": "localhost",
        "spark.executor.memory": "512m",
        "spark.executor.cores": 1,
    }
    options = [f"-D{key}={value}" for key, value in settings.items()]
    flag = f"--spark-master-url={master}"
    return start_job_server(engine, home, _JOB_SERVER, flag, environment=_variables(home), options=options)


def _variables(home: pathlib.Path) -> dict[str, str]:
    return {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_HOSTNAME": "localhost",
        "SPARK_SCALA_VERSION": "2.12",  # else executors look for the folders of a build of Spark, and die
    }
