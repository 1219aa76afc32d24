"""Beam counters and distributions, all in one namespace and with the unit in the name; docs/metrics.md lists them."""

from collections.abc import Iterable

from apache_beam.metrics import Metrics

from transforms.records import Reject, ShardBatch

NAMESPACE = "cambeam"


def count(name: str, amount: int = 1) -> None:
    """Adds to a counter."""
    Metrics.counter(NAMESPACE, name).inc(amount)


def count_rejects(rejects: Iterable[Reject]) -> None:
    """Counts rejected images by the reason."""
    for reject in rejects:
        count(f"images_rejected_{reject.error_type}")


def observe(name: str, value: float) -> None:
    """Adds a value, rounded to a whole one, to a distribution: its count, sum, minimum and maximum."""
    Metrics.distribution(NAMESPACE, name).update(round(value))


def timed(batch: ShardBatch, stage: str) -> ShardBatch:
    """Observes how long a stage took for a batch, and returns the batch."""
    observe(f"batch_{stage}_ms", 1000 * batch.seconds[stage])
    return batch
