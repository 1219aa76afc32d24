"""Work on batches in the background, so that the engine has the next batch while the last is located and drawn."""

from collections.abc import Callable
from dataclasses import replace

from transforms.records import ShardBatch
from transforms.worker import live
from transforms.worker.threads import thread_pool


def then(batch: ShardBatch, work: Callable[[ShardBatch], ShardBatch]) -> ShardBatch:
    """Returns a batch that will be what `work` makes of it, once all that is pending for it is done.

    Work is begun in the order of the calls, so that what waits for earlier work never keeps it from being begun.
    Batches without images are returned as they are. Beam's metrics can't be counted in the background.
    """
    if not batch.images and batch.pending is None:
        return batch
    pending = thread_pool("batch").submit(lambda: _run(batch, work))
    return replace(batch, images=[], pixels=None, pending=pending)


def settled(batch: ShardBatch) -> ShardBatch:
    """Waits for what is pending, and returns the batch as it is then.

    Raises:
      Exception: what the work failed with.
    """
    return batch if batch.pending is None else batch.pending.result()


def _run(batch: ShardBatch, work: Callable[[ShardBatch], ShardBatch]) -> ShardBatch:
    batch = settled(batch)
    live.raise_if_stopped()
    return work(batch)
