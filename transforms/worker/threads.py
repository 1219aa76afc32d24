"""Thread pools that all shards of a worker process share, so that threads that compute never outnumber the cores."""

import contextlib
import functools
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_REQUESTS = 32  # made of a store at a time: an answer takes a tenth of a second, and no core
_PATIENCE_S = 0.1  # before what waits looks whether it is still wanted
Item = TypeVar("Item")
Result = TypeVar("Result")


def num_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def thread_pool(kind: str) -> ThreadPoolExecutor:
    """Returns the process's pool for one kind of work. Kinds keep apart what must not queue behind each other.

    A pool has as many threads as there are cores, but "read", which waits for disks and stores, has more.
    """
    return ThreadPoolExecutor(_REQUESTS if kind == "read" else num_cores(), thread_name_prefix=f"cambeam-{kind}")


class Budget:
    """Bounds what is held at once, in any unit: those who would go beyond it wait, the first of them until it has room.

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
    ahead: int,
    pool: ThreadPoolExecutor,
    cost: Callable[[Item], int] = lambda item: 0,
    max_cost: int = 0,
) -> Generator[Result]:
    """Maps items in a thread pool, in order, reading and computing at most `ahead` results before they are asked for.

    The items are drawn in a thread of their own, so that a slow store is read while the results are used. An error of
    the items or of the function is raised where its result would have been.

    Args:
      cost: of an item; those ahead cost at most `max_cost` together, and one that costs more is alone.
    """
    results: queue.Queue[tuple[Future, int]] = queue.Queue(maxsize=max(1, ahead))
    budget = Budget(max_cost)  # of this call alone: one that nobody goes on with would keep others waiting
    stopped = threading.Event()
    end = object()

    def put(result: Future, amount: int) -> bool:
        while not stopped.is_set():
            try:
                results.put((result, amount), timeout=_PATIENCE_S)
                return True
            except queue.Full:
                continue
        return False

    def draw():
        last: Future = Future()
        try:
            for item in items:
                amount = cost(item)
                while not budget.take(amount, _PATIENCE_S):
                    if stopped.is_set():
                        return
                if not put(pool.submit(function, item), amount):
                    return
            last.set_result(end)
        except Exception as error:  # handed to the consumer, who raises it
            last.set_exception(error)
        put(last, 0)

    reader = threading.Thread(target=draw, name="cambeam-read", daemon=True)
    reader.start()
    try:
        while True:
            result, amount = results.get()
            value = result.result()
            if value is end:
                return
            budget.give(amount)
            yield value
    finally:
        stopped.set()
        reader.join()
