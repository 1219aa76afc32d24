import threading
import time

import pytest

from transforms.worker.threads import Budget, map_ahead, num_cores, thread_pool


def test_results_come_in_order_whatever_finishes_first():
    def slow_for_small(n):
        time.sleep(0.002 * (5 - n % 5))
        return n * n

    assert list(map_ahead(slow_for_small, range(30), thread_pool("test"), 8)) == [n * n for n in range(30)]


def test_no_items():
    assert list(map_ahead(str, [], thread_pool("test"), 4)) == []


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_no_more_is_drawn_than_asked_for(ahead):
    drawn = []

    def items():
        for n in range(100):
            drawn.append(n)
            yield n

    results = map_ahead(lambda n: n, items(), thread_pool("test"), ahead)
    next(results)
    time.sleep(0.1)
    # one taken, `ahead` (at least one) waiting, one more drawn by the reader, who waits for room
    assert len(drawn) == max(1, ahead) + 2
    results.close()


def test_an_error_of_the_function_is_raised_in_its_place():
    results = map_ahead(lambda n: 1 // (n - 2), range(5), thread_pool("test"), 4)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_items_is_raised_after_what_came_before_it():
    def items():
        yield 1
        raise OSError("the store is gone")

    results = map_ahead(str, items(), thread_pool("test"), 4)
    assert next(results) == "1"
    with pytest.raises(OSError, match="the store is gone"):
        next(results)


def test_closing_early_stops_the_reader():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    results = map_ahead(str, endless(), thread_pool("test"), 2)
    next(results)
    results.close()
    assert not any(thread.name == "cambeam-read" for thread in threading.enumerate())


def test_what_is_ahead_costs_no_more_than_allowed_and_closing_does_not_wait_for_room():
    drawn = []

    def items():
        for n in range(100):
            drawn.append(n)
            yield n

    results = map_ahead(lambda n: n, items(), thread_pool("test"), 6, cost=lambda n: 9 if n == 1 else 2)
    assert next(results) == 0
    time.sleep(0.1)
    assert drawn == [0, 1, 2]  # 1 costs more than is allowed: it is alone, and 2 waits for room
    assert next(results) == 1
    time.sleep(0.1)
    assert drawn == [0, 1, 2, 3, 4, 5]  # 2, 3 and 4 together cost 6
    results.close()
    assert not any(thread.name == "cambeam-read" for thread in threading.enumerate())


def test_kinds_of_work_have_pools_of_their_own():
    assert thread_pool("a") is thread_pool("a")
    assert thread_pool("a") is not thread_pool("b")
    assert num_cores() >= 1


def test_what_is_large_gets_its_turn_among_many_small():
    budget, given = Budget(10), threading.Event()
    budget.take(6)
    budget.take(4)
    order = []

    def take(amount):
        budget.take(amount)
        order.append(amount)
        given.set()

    threads = [threading.Thread(target=take, args=(amount,)) for amount in (8, 2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    budget.give(4)  # enough for the small one, which came later
    assert not given.wait(0.1)
    budget.give(6)
    for thread in threads:
        thread.join(5)
    assert order == [8, 2]
    assert not budget.take(5, timeout_s=0.01)
