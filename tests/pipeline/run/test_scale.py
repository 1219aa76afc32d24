"""What a run asks of the store, counted: there a request may take a tenth of a second, and shards be a million."""

import collections
import functools
import json
import pathlib
import threading

import pytest

from benchmarks import scale
from transforms.store import files as store

SHARDS = 30
COUNTED = (
    "delete",
    "exists",
    "match",
    "metadata",
    "names",
    "read_bytes",
    "read_json",
    "rename",
    "sizes",
    "write_bytes",
)


@pytest.fixture
def requests(monkeypatch):
    """Counts the store's operations by name and by the folder of the output that they are about."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    lock = threading.Lock()

    def count(name, function):
        @functools.wraps(function)
        def wrapper(path, *args):
            about = str(path).partition("/out")[2].strip("/").partition("/")[0]
            with lock:
                counts[name, about] += 1
            return function(path, *args)

        return wrapper

    for name in COUNTED:
        monkeypatch.setattr(store, name, count(name, getattr(store, name)))
    return counts


@pytest.fixture
def pattern(tmp_path):
    with scale.fakes(skew=10):
        yield scale.make_input(tmp_path / "in", SHARDS)


def test_requests_of_a_run(pattern, tmp_path, requests):
    scale.label(pattern, str(tmp_path / "out"))
    of_markers = {name: count for (name, about), count in requests.items() if about == "_shards"}
    # listed for the plan and for the audit; one look at each when its shard is taken up; written
    assert of_markers == {"names": 1, "sizes": 1, "read_json": SHARDS, "read_bytes": SHARDS, "write_bytes": SHARDS}
    assert (requests["sizes", "images"], requests["sizes", "rejects"]) == (1, 1)  # for the audit
    assert requests["rename", "_tmp"] < 2 * SHARDS + 10  # images and marker of each; settings, plans, _run.json, ...
    assert json.loads((tmp_path / "out" / "_run.json").read_text())["written"] == SHARDS - 1 + 10


def test_requests_of_a_resumed_run(pattern, tmp_path, requests):
    scale.label(pattern, str(tmp_path / "out"))
    markers = sorted((tmp_path / "out" / "_shards").iterdir())
    for marker in markers[:4]:
        marker.unlink()
    first = requests["rename", "_tmp"]
    requests.clear()
    scale.label(pattern, str(tmp_path / "out"))
    of_markers = {name: count for (name, about), count in requests.items() if about == "_shards"}
    assert of_markers == {"names": 1, "sizes": 1, "read_json": SHARDS, "read_bytes": SHARDS, "write_bytes": 4}
    assert first - requests["rename", "_tmp"] == 2 * (SHARDS - 4)
    assert len(list(pathlib.Path(tmp_path, "out", "_shards").iterdir())) == SHARDS


def test_progress_reads_each_marker_once(pattern, tmp_path, requests):
    scale.label(pattern, str(tmp_path / "out"))
    from pipeline.run.progress import MarkerSource
    from transforms.output.layout import Layout
    from transforms.output.plan import read_plan

    layout = Layout(str(tmp_path / "out"))
    source = MarkerSource(layout, list(read_plan(layout.plan)))
    requests.clear()
    assert source.state(now=True).images == SHARDS - 1 + 10
    source.state(now=True)
    assert (requests["names", "_shards"], requests["read_json", "_shards"]) == (2, SHARDS)
