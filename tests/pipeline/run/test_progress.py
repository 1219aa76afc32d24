import io

import pytest
import rich.console

from pipeline.run import progress
from pipeline.run.progress import LiveSource, MarkerSource, State
from tests.factories import labelled_batch, shard
from tests.transforms.output.test_writer import write
from transforms.output.commit import read_marker
from transforms.output.layout import Layout
from transforms.worker import live


def test_live_counts_begin_at_zero_for_each_run():
    live.add(written=5, rejected=1, read_bytes=100)
    source = LiveSource([shard(num_bytes=30), shard(num_bytes=10)])
    assert source.state() == State(0, 0, 0.0)
    live.add(written=2, rejected=1, read_bytes=10)
    assert source.state() == State(2, 1, 0.25)
    live.add(read_bytes=1000)
    assert source.state().fraction == 1.0


def test_markers_count_the_shards_of_this_run_once(tmp_path):
    layout = Layout(str(tmp_path))
    mine, other = shard("/data/a.tar", num_bytes=30), shard("/data/b.tar", num_bytes=10)
    source = MarkerSource(layout, [mine, other])
    assert source.state(now=True) == State(0, 0, 0.0)
    write(layout, labelled_batch(4, rejected=1, of=mine), labelled_batch(2, of=shard("/data/stranger.tar")))
    assert source.state() == State(0, 0, 0.0)  # listed a moment ago
    assert source.state(now=True) == State(4, 1, 0.75)
    assert source.state(now=True) == State(4, 1, 0.75)


def test_of_many_markers_some_are_read_and_the_rest_estimated(tmp_path):
    layout = Layout(str(tmp_path))
    shards = [shard(f"/data/{name}.tar", num_bytes=num_bytes) for name, num_bytes in (("a", 20), ("b", 30), ("c", 50))]
    source = MarkerSource(layout, shards, max_read=1)
    write(layout, *(labelled_batch(4, rejected=2, of=one) for one in shards[:2]))
    # a is read: 4 images and 2 rejects in 20 bytes; with b 50 bytes are done
    assert source.state(now=True) == State(10, 5, 0.5)
    assert source.state(now=True) == State(10, 5, 0.5)


def test_markers_that_can_not_be_read_count_later_and_once(tmp_path, monkeypatch):
    layout = Layout(str(tmp_path))
    shards = [shard("/data/a.tar", num_bytes=30), shard("/data/b.tar", num_bytes=10)]
    source = MarkerSource(layout, shards)
    write(layout, *(labelled_batch(4, rejected=1, of=one) for one in shards))

    def fail_at_b(layout, shard_id):
        if shard_id.startswith("b-"):
            raise OSError("the store is away")
        return read_marker(layout, shard_id)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "read_marker", fail_at_b)
        with pytest.raises(OSError, match="away"):
            source.state()
        assert source.state() == State(0, 0, 0.0)  # a store in trouble is not asked again at once
    assert source.state(now=True) == State(8, 2, 1.0)


def shown(monkeypatch, terminal):
    """What a display writes of a run that is half done after 20 seconds."""
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    out = io.StringIO()
    console = rich.console.Console(file=out, force_terminal=terminal, width=200)
    with progress.display(console) as display:
        display.show(State(10, 0, 0.1))
        now += 20
        display.show(State(100, 3, 0.5))
        display.show(State(101, 3, 0.5))  # too soon for another line
    return out.getvalue()


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    # 100 images in 20 s, half of the bytes: as much time again
    assert shown(monkeypatch, terminal=False) == "100 images, 3 rejected, 5.0 images/s, 50%, about 20 s left\n"


def test_a_terminal_gets_a_live_line(monkeypatch):
    assert "3 rejected" in shown(monkeypatch, terminal=True)
