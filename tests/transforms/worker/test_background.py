import threading
from dataclasses import replace

import pytest

from tests.factories import labelled_batch
from transforms.worker import live
from transforms.worker.background import settled, then


def noted(name, log):
    def work(batch):
        log.append(name)
        return replace(batch, device=f"{batch.device}>{name}")

    return work


def test_work_is_done_in_order_and_the_batch_is_what_it_becomes():
    log = []
    batch = labelled_batch(2)
    pending = then(then(batch, noted("a", log)), noted("b", log))
    assert settled(pending).device == f"{batch.device}>a>b"
    assert len(settled(pending)) == 2
    assert log == ["a", "b"]


def test_the_caller_does_not_wait():
    go_on = threading.Event()

    def waits(batch):
        assert go_on.wait(10)
        return batch

    pending = then(labelled_batch(1), waits)
    assert not pending.pending.done()
    go_on.set()
    assert len(settled(pending)) == 1


def test_what_is_pending_holds_no_pixels():
    batch = replace(labelled_batch(1), pixels="pixels")
    pending = then(batch, lambda batch: batch)
    assert (pending.images, pending.pixels, pending.read) == ([], None, batch.read)
    assert settled(pending).pixels == "pixels"


def test_an_error_is_raised_where_the_batch_is_wanted():
    def fails(batch):
        raise OSError("no engine")

    log = []
    pending = then(then(labelled_batch(1), fails), noted("after", log))
    with pytest.raises(OSError, match="no engine"):
        settled(pending)
    assert log == []


def test_a_batch_without_images_is_returned_as_it_is():
    batch = labelled_batch(0, rejected=2)
    assert then(batch, noted("a", [])) is batch
    assert settled(batch) is batch


def test_work_that_has_not_begun_at_the_stop_is_not_begun():
    log = []
    live.stop()
    try:
        with pytest.raises(live.StoppedError):
            settled(then(labelled_batch(1), noted("a", log)))
    finally:
        live.resume()
    assert log == []
