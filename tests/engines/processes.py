"""Servers that make up an engine: started, waited for, killed on purpose, and gone in the end however it ends."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

START_SECONDS = 120


class EngineError(RuntimeError):
    """An engine did not start."""


class Process:
    """A server in a process group of its own, with all that it starts."""

    def __init__(self, name: str, command: list, log: pathlib.Path, environment: dict[str, str]):
        self.name, self.log = name, log
        # it must not outlive a test run that was killed
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with open(log, "ab") as output:
            self._popen = subprocess.Popen(
                [*guard, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal to the process and to all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)

    def kill(self) -> None:
        """Ends it at once, as the loss of a machine would."""
        self.signal(signal.SIGKILL)
        self._popen.wait(10)

    def stop(self) -> None:
        """Ends it politely, then by force."""
        if self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(3)
        self.kill()

    def last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


@dataclass
class Engine:
    """A running engine.

    Attributes:
      options: the Beam options that send a run there.
      folder: for its logs and whatever else it writes.
      processes: by name; a test may kill them.
    """

    name: str
    folder: pathlib.Path
    options: list[str] = field(default_factory=list)
    processes: dict[str, Process] = field(default_factory=dict)

    def start(self, name: str, command: list, environment: dict[str, str] | None = None) -> None:
        """Starts a server, or the replacement of one that was killed."""
        self.processes[name] = Process(name, command, self.folder / f"{name}.log", environment or {})

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Waits until it is ready.

        Raises:
          EngineError: it takes too long, or a server has ended; with the server's last lines.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            ended = next((process for process in self.processes.values() if not process.running), None)
            if ended or time.monotonic() > deadline:
                guilty = ended or list(self.processes.values())[-1]
                raise EngineError(f"{self.name}: no {what}; the last lines of {guilty.name}:\n{guilty.last_lines()}")
            time.sleep(0.1)


@contextlib.contextmanager
def running_engine(name: str) -> Iterator[Engine]:
    """Opens an engine without servers; those it was given meanwhile end with it."""
    with tempfile.TemporaryDirectory(prefix=f"cambeam-{name}-", ignore_cleanup_errors=True) as folder:
        engine = Engine(name, pathlib.Path(folder))
        try:
            yield engine
        finally:
            for process in engine.processes.values():
                process.signal(signal.SIGTERM)
            for process in engine.processes.values():
                process.stop()


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def listening(port: int) -> bool:
    """Tells whether somebody answers at a port."""
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False


def get_json(port: int, path: str) -> dict:
    """Returns what a server says of itself; nothing while it does not answer."""
    with (
        contextlib.suppress(OSError, ValueError),
        urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=2) as answer,
    ):
        return json.load(answer)
    return {}
