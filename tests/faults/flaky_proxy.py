"""A proxy in front of a storage emulator that fails a share of the requests: 503, or a connection dropped midway."""

import http.client
import http.server
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class FlakyProxy:
    """Runs in threads of this process; `failures` counts what was injected."""

    def __init__(self, backend_port: int, failure_fraction: float, at_least_every: int, seed: int = 0):
        self.backend_port, self.failure_fraction = backend_port, failure_fraction
        self.at_least_every = at_least_every
        self.failures: Counter[str] = Counter()
        self.requests = 0
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def stop_failing(self) -> None:
        self.failure_fraction, self.at_least_every = 0.0, 1_000_000

    def fault(self) -> str | None:
        """Draws what happens to a request: nothing, "503", "dropped" or "half"."""
        with self._lock:
            self.requests += 1
            due = self.requests % self.at_least_every == 0
            if not due and self._random.random() >= self.failure_fraction:
                return None
            kind = self._random.choice(["503", "dropped", "half"])
            self.failures[kind] += 1
            return kind

    def _handler(proxy):  # noqa: N805 # the handler's own self is another one
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                length = int(self.headers.get("Content-Length") or 0)
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = b"".join(self._chunks())
                else:
                    body = self.rfile.read(length) if length else b""
                fault = proxy.fault()
                if fault == "503":
                    self._answer(503, [], b"try again")
                    return
                if fault == "dropped":
                    self.close_connection = True
                    return
                connection = http.client.HTTPConnection("127.0.0.1", proxy.backend_port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
                connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
                response = connection.getresponse()
                content = response.read()
                kept = [(k, v) for k, v in response.getheaders() if k.lower() not in _HOP_BY_HOP]
                if self.command == "HEAD":
                    kept.append(("Content-Length", response.getheader("Content-Length", "0")))
                self._answer(response.status, kept, content, half=fault == "half")
                connection.close()

            def _chunks(self) -> Iterator[bytes]:
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def _answer(self, status, headers, content, half=False):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if half:
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                elif self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = forward  # noqa: N815 # the base class's names

            def log_message(self, *args):
                pass

        return Handler


@contextmanager
def flaky_proxy(backend_port: int, failure_fraction: float, at_least_every: int = 1_000_000) -> Iterator[FlakyProxy]:
    """Opens a proxy; `at_least_every` fails every so many requests whatever is drawn, so that short tests see some."""
    proxy = FlakyProxy(backend_port, failure_fraction, at_least_every)
    try:
        yield proxy
    finally:
        proxy.close()
