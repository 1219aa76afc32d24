"""Progress of a run: a live line on a terminal, one now and then in a log."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import rich.console
import rich.progress

from pipeline.console import say
from transforms.output.commit import read_marker
from transforms.output.layout import Layout
from transforms.records import Shard
from transforms.worker import live
from transforms.worker.threads import thread_pool

_LOG_EVERY_SECONDS = 15.0
_LISTING_SHARE = 20  # markers are listed at most every so many times the duration of a listing
_MARKERS_READ = 1000  # at most, at each listing


class State(NamedTuple):
    """How far a run is.

    Attributes:
      images, rejected: done since it began.
      fraction: of the work that was left when it began, by input bytes.
    """

    images: int
    rejected: int
    fraction: float


class LiveSource:
    """Progress of workers that are threads of this process, image by image."""

    def __init__(self, shards: list[Shard]) -> None:
        self._num_bytes = max(1, sum(shard.num_bytes for shard in shards))
        self._start = live.progress()

    def state(self, now: bool = True) -> State:
        """Returns the state of this moment."""
        done = live.progress()
        written, rejected = done.written - self._start.written, done.rejected - self._start.rejected
        return State(written, rejected, min(1.0, (done.read_bytes - self._start.read_bytes) / self._num_bytes))


class MarkerSource:
    """Progress of workers anywhere, shard by shard, from the markers in the output.

    Of many new markers some are read, and the images of the others estimated by the bytes of their shards: to read a
    million would take longer than the run.
    """

    def __init__(self, layout: Layout, shards: list[Shard], max_read: int = _MARKERS_READ) -> None:
        self._layout, self._max_read = layout, max_read
        self._open = {shard.shard_id: shard for shard in shards}
        self._num_bytes, self._done_bytes = max(1, sum(shard.num_bytes for shard in shards)), 0
        self._images = self._rejected = self._read_bytes = 0  # of the markers read
        self._next_listing = 0.0

    def state(self, now: bool = False) -> State:
        """Returns the state when the markers were last listed, which `now` does at once."""
        if now or time.monotonic() >= self._next_listing:
            started = time.monotonic()
            try:
                self._count_new()
            finally:  # a store in trouble is not asked again at once either
                self._next_listing = time.monotonic() + max(1.0, _LISTING_SHARE * (time.monotonic() - started))
        scale = self._done_bytes / self._read_bytes if self._read_bytes else 1
        return State(round(scale * self._images), round(scale * self._rejected), self._done_bytes / self._num_bytes)

    def _count_new(self) -> None:
        new = [shard_id for shard_id in self._layout.marked() if shard_id in self._open]
        read = functools.partial(read_marker, self._layout)
        markers = list(thread_pool("read").map(read, new[: self._max_read]))  # all, before any is counted
        for shard_id, marker in zip(new, markers, strict=False):
            self._read_bytes += self._open[shard_id].num_bytes
            self._images += marker.written if marker else 0
            self._rejected += marker.rejected if marker else 0
        self._done_bytes += sum(self._open.pop(shard_id).num_bytes for shard_id in new)


Source = LiveSource | MarkerSource


class Display:
    """Shows states to a person, or to nobody."""

    def __init__(
        self, console: rich.console.Console | None = None, progress: rich.progress.Progress | None = None
    ) -> None:
        self._console, self._progress = console, progress
        self._started = self._last_line = time.monotonic()
        if progress:
            self._task = progress.add_task("labelling", total=1.0, images=0, rejected=0, rate=0.0)

    def show(self, state: State) -> None:
        """Updates the live line, or logs one if the last is long ago."""
        now = time.monotonic()
        rate = state.images / max(now - self._started, 1e-9)
        if self._progress:
            self._progress.update(
                self._task, completed=state.fraction, images=state.images, rejected=state.rejected, rate=rate
            )
        elif now - self._last_line >= _LOG_EVERY_SECONDS:
            self._last_line = now
            left = (now - self._started) * (1 / state.fraction - 1) if state.fraction else None
            eta = f", about {left:.0f} s left" if left is not None else ""
            say(
                self._console,
                f"{state.images} images, {state.rejected} rejected, {rate:.1f} images/s, {state.fraction:.0%}{eta}",
            )


@contextmanager
def display(console: rich.console.Console | None) -> Iterator[Display]:
    """Opens a display: live on a terminal and in a notebook, lines elsewhere, nothing where there is no console."""
    if not console or not (console.is_terminal or console.is_jupyter):
        yield Display(console)
        return
    columns = (
        rich.progress.TextColumn("[progress.description]{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TaskProgressColumn(),
        rich.progress.TextColumn("{task.fields[images]} images · {task.fields[rate]:.1f}/s"),
        rich.progress.TextColumn("{task.fields[rejected]} rejected"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("ETA"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as progress:
        yield Display(console, progress)
