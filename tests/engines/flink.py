"""Apache Flink behind Beam's job server: in one process, and as a cluster of separate processes."""

import contextlib
from collections.abc import Iterator

from tests.engines.install import install
from tests.engines.java import hidden_jars, java, start_job_server
from tests.engines.processes import Engine, free_ports, get_json, running_engine
from tests.engines.workers import hosts_file, portable_options

_JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_TASK_MANAGERS, _SLOTS, _PARALLELISM = 2, 2, 2  # when a task manager is lost the other one has slots enough
# how often a failed job is started again; Beam's --number_of_execution_retries does nothing
_RESTARTS = {
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": 5,
    "restart-strategy.fixed-delay.delay": "1 s",
}
_CLUSTER = {
    "rest.address": "localhost",
    "rest.bind-address": "localhost",
    "jobmanager.rpc.address": "localhost",
    "jobmanager.bind-host": "localhost",
    "taskmanager.bind-host": "localhost",
    "taskmanager.host": "localhost",
    "taskmanager.numberOfTaskSlots": _SLOTS,
    "taskmanager.load-balance.mode": "SLOTS",  # spreads the work over the task managers instead of filling one
    # started without Flink's scripts, a task manager must be told every size
    "taskmanager.cpu.cores": _SLOTS,
    "taskmanager.memory.task.heap.size": "384m",
    "taskmanager.memory.task.off-heap.size": "64m",
    "taskmanager.memory.managed.size": "128m",
    "taskmanager.memory.network.min": "192m",  # enough for the work of both, when the other is killed
    "taskmanager.memory.network.max": "192m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
    "heartbeat.interval": 1000,
    "heartbeat.timeout": 8000,
    "slot.request.timeout": 60000,
    "classloader.resolve-order": "parent-first",
}


@contextlib.contextmanager
def flink_mini(environment: str) -> Iterator[Engine]:
    """Runs Flink inside the job server: a cluster in one process, per job."""
    home = install("flink")
    with running_engine("flink-mini") as engine:
        variables = _configure(engine, _RESTARTS)
        flags = ["--flink-master=[local]", f"--flink-conf-dir={variables['FLINK_CONF_DIR']}"]
        port = start_job_server(engine, home, _JOB_SERVER, *flags, environment=variables)
        engine.options = [*portable_options(port, environment, engine.folder), f"--parallelism={_PARALLELISM}"]
        yield engine


@contextlib.contextmanager
def flink_standalone(environment: str) -> Iterator[Engine]:
    """Runs a job manager, two task managers and a job server; LOOPBACK can't serve two task managers."""
    home = install("flink")
    with running_engine("flink") as engine:
        rpc, rest = free_ports(2)
        ports = {"jobmanager.rpc.port": rpc, "rest.port": rest}
        folders = {"blob.storage.directory": engine.folder / "blobs", "io.tmp.dirs": engine.folder}
        variables = _configure(engine, {**_CLUSTER, **_RESTARTS, **ports, **folders})
        conf = variables["FLINK_CONF_DIR"]
        manager = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        engine.start("job-manager", java(home, manager, "--configDir", conf, "--executionMode", "cluster"), variables)
        worker = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        memory = {"memory": "640m", "options": ["-XX:MaxDirectMemorySize=448m"]}
        for index in range(_TASK_MANAGERS):
            command = java(home, worker, "--configDir", conf, **memory)
            engine.start(f"task-manager-{index}", command, variables | hosts_file(engine, index))
        flags = [f"--flink-master=localhost:{rest}", f"--flink-conf-dir={conf}"]
        port = start_job_server(engine, home, _JOB_SERVER, *flags, environment=variables, options=hidden_jars(home))
        slots = _TASK_MANAGERS * _SLOTS
        engine.wait(lambda: get_json(rest, "/overview").get("slots-available") == slots, "cluster")
        engine.options = [*portable_options(port, environment, engine.folder), f"--parallelism={_PARALLELISM}"]
        yield engine


def _configure(engine: Engine, settings: dict) -> dict[str, str]:
    """Writes Flink's configuration and returns the variables that point to it."""
    conf = engine.folder / "conf"
    conf.mkdir()
    (conf / "flink-conf.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    return {"FLINK_CONF_DIR": str(conf)}
