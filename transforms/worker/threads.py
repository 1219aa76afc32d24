"""Thread pools that all shards of a worker process share, so that threads that compute never outnumber the cores."""

import contextlib
import functools
import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

_WAITING_THREADS = 32  # of pools that wait and do not compute: for stores, or for other pools
_PIECE = 8  # items that a thread takes at a time: to hand over each by itself would hold Python's lock for longer
_PATIENCE_S = 0.1  # between two looks whether results are still wanted
Item = TypeVar("Item")
Result = TypeVar("Result")


def num_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def thread_pool(kind: str) -> ThreadPoolExecutor:
    """Returns the process's pool for one kind of work, which never queues behind work of another kind.

    A pool has as many threads as there are cores. Two have more, since they wait: "read" for disks and stores, "batch"
    for the engine and for other pools.
    """
    threads = _WAITING_THREADS if kind in ("read", "batch") else num_cores()
    return ThreadPoolExecutor(threads, thread_name_prefix=f"cambeam-{kind}")


def map_in_pieces(
    function: Callable[[Item], Result], items: Sequence[Item] | np.ndarray, pool: ThreadPoolExecutor
) -> list[Result]:
    """Maps items that take a fraction of a millisecond each in a thread pool, several at a time; in order."""
    starts = range(0, len(items), _PIECE)
    parts = pool.map(lambda start: [function(item) for item in items[start : start + _PIECE]], starts)
    return list(itertools.chain.from_iterable(parts))


class Budget:
    """Bounds what is held at once, in any unit. Whoever would exceed the limit waits, and is served in turn.

    What is larger than the limit is held alone.
    """

    def __init__(self, limit: int):
        self._limit, self._held = limit, 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, amount: int, timeout_s: float | None = None) -> bool:
        """Waits until there is room, and takes it. Returns False where it gave up waiting."""
        ticket = object()

        def is_next_and_fits() -> bool:
            return self._queue[0] is ticket and (not self._held or self._held + amount <= self._limit)

        with self._changed:
            self._queue.append(ticket)
            fits = self._changed.wait_for(is_next_and_fits, timeout_s)
            self._queue.remove(ticket)
            if fits:
                self._held += amount
            self._changed.notify_all()
            return fits

    def give(self, amount: int) -> None:
        """Gives back what was taken."""
        with self._changed:
            self._held -= amount
            self._changed.notify_all()

    @contextlib.contextmanager
    def held(self, amount: int) -> Iterator[None]:
        """Takes an amount for as long as the context lasts."""
        self.take(amount)
        try:
            yield
        finally:
            self.give(amount)


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    pool: ThreadPoolExecutor,
    ahead: int,
    cost: Callable[[Item], int] = lambda item: 1,
) -> Generator[Result]:
    """Maps items in a thread pool, in order, and some of them before their results are asked for.

    A thread draws the items while their results are used. Errors of either are raised in the place of a result.

    Args:
      ahead: the cost, at most, of all items whose results were not asked for yet; an item that costs more is alone.
      cost: of an item; by default items are counted.
    """
    results: queue.SimpleQueue[tuple[Future[Result], int] | None] = queue.SimpleQueue()
    budget = Budget(ahead)  # of this call alone: results that nobody asks for must not keep other calls waiting
    stopped = threading.Event()

    def wait_for_room(amount: int) -> bool:
        while not stopped.is_set():
            if budget.take(amount, _PATIENCE_S):
                return True
        return False

    def draw() -> None:
        for result in _submitted(function, items, pool, cost, wait_for_room):
            results.put(result)
        results.put(None)

    reader = threading.Thread(target=draw, name="cambeam-read", daemon=True)
    reader.start()
    try:
        while found := results.get():
            value = found[0].result()
            budget.give(found[1])
            yield value
    finally:
        stopped.set()
        reader.join()


def _submitted(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    pool: ThreadPoolExecutor,
    cost: Callable[[Item], int],
    wait_for_room: Callable[[int], bool],
) -> Iterator[tuple[Future[Result], int]]:
    """Yields the future result of each item and what the item costs, until the room that it waits for is denied."""
    try:
        for item in items:
            amount = cost(item)
            if not wait_for_room(amount):
                return
            yield pool.submit(function, item), amount
    except Exception as error:  # handed to the one who asks for results, and raised there
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed, 0
