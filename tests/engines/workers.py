"""Where the Python code of a job runs: in pools that are there already, or in processes that the engine starts."""

import contextlib
import json
import os
import pathlib
import socket
import sys
import threading
from collections.abc import Iterator

from tests.engines.processes import Engine, free_ports, listening, running_engine

ROOT = pathlib.Path(__file__).parents[2]
_POOL_HOST = "cambeam-workers"  # each Java process finds its own pool under this name, see `hosts_file`


def python_environment() -> dict[str, str]:
    """Returns variables by which a bare `python` is our interpreter, with cambeam."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def worker_options(environment: str, folder: pathlib.Path) -> list[str]:
    """Returns the Beam options for "LOOPBACK", "PROCESS" or the address of a pool."""
    if environment == "LOOPBACK":
        return ["--environment_type=LOOPBACK"]
    if environment != "PROCESS":
        return ["--environment_type=EXTERNAL", f"--environment_config={environment}"]
    script = folder / "worker.sh"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.engines.worker "$@"\n')
    script.chmod(0o755)
    config = {"command": str(script), "env": python_environment()}
    return ["--environment_type=PROCESS", f"--environment_config={json.dumps(config)}"]


def portable_options(port: int, environment: str, folder: pathlib.Path) -> list[str]:
    """Returns the Beam options of a run behind the job server at a port."""
    return ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", *worker_options(environment, folder)]


def start_pool(engine: Engine, index: int, port: int) -> None:
    """Starts a worker pool, or the replacement of one that was killed."""
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    engine.start(f"pool-{index}", command, python_environment())


class Pools:
    """Running worker pools.

    Attributes:
      address: for `worker_options`; one name for all pools.
    """

    def __init__(self, engine: Engine, ports: list[int], address: str):
        self.engine, self.ports, self.address = engine, ports, address

    def replace(self, index: int) -> None:
        """Kills a pool with its workers and starts another in its place, as Kubernetes does."""
        self.engine.processes[f"pool-{index}"].kill()
        start_pool(self.engine, index, self.ports[index])


@contextlib.contextmanager
def worker_pools(count: int) -> Iterator[Pools]:
    """Runs pools of Python workers, one for each task manager.

    They can't share one: the engines number their workers from the same start, and a pool keeps workers by number, so
    that the first task manager to be done would stop the other's worker.
    """
    with running_engine("worker-pools") as engine, contextlib.ExitStack() as stack:
        ports = free_ports(count)
        for index, port in enumerate(ports):
            start_pool(engine, index, port)
        engine.wait(lambda: all(map(listening, ports)), "worker pool")
        address = f"localhost:{ports[0]}"
        if count > 1:
            (front,) = free_ports(1)
            address = f"{_POOL_HOST}:{front}"
            for index, port in enumerate(ports):
                stack.enter_context(_forwarded(_own_host(index), front, port))
        yield Pools(engine, ports, address)


def _own_host(index: int) -> str:
    return f"127.0.0.{index + 1}"


def hosts_file(engine: Engine, index: int) -> dict[str, str]:
    """Returns variables by which a Java process finds a pool of its own, as it would a container beside it."""
    hosts = engine.folder / f"hosts-{index}"
    hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{_own_host(index)} {_POOL_HOST}\n")
    return {"JAVA_TOOL_OPTIONS": f"-Djdk.net.hosts.file={hosts}"}


@contextlib.contextmanager
def _forwarded(host: str, port: int, target: int) -> Iterator[None]:
    """Passes connections to host:port on to another port: pools can't be told on which address to listen."""
    with socket.create_server((host, port)) as server, contextlib.ExitStack() as opened:

        def copy(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    sink.sendall(data)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            with contextlib.suppress(OSError):  # the server is closed
                while True:
                    client = opened.enter_context(server.accept()[0])
                    try:
                        onward = opened.enter_context(socket.create_connection(("localhost", target)))
                    except OSError:  # the pool is being replaced
                        client.close()
                        continue
                    for pair in ((client, onward), (onward, client)):
                        threading.Thread(target=copy, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
