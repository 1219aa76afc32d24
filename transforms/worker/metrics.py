"""Beam counters and distributions, all in one namespace and with the unit in the name; docs/metrics.md lists them."""

from collections.abc import Iterable

from apache_beam.metrics import Metrics

from transforms.records import Reject, ShardBatch, Stage

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


def count_read(batch: ShardBatch) -> None:
    """Counts what ReadShard has made of a batch."""
    count("images_read", batch.read)
    count("images_decoded", len(batch.images))
    count_rejects(batch.rejects)
    observe("batch_decode_ms", 1000 * batch.seconds["decode"])


def count_labelled(batch: ShardBatch) -> None:
    """Counts what Predict, Locate and Render have made of a batch; they work in threads that Beam does not know."""
    rejected = [reject for reject in batch.rejects if reject.stage == Stage.PREDICT]
    count_rejects(rejected)
    if "predict" in batch.seconds:
        observe("batch_images", len(batch) + len(rejected))
    for stage in ("predict", "locate", "render"):
        if stage in batch.seconds:
            observe(f"batch_{stage}_ms", 1000 * batch.seconds[stage])
    count("boxes_found", sum(len(of_class) for of_image in batch.boxes for of_class in of_image))
    count("thumbnail_bytes", sum(map(len, batch.thumbnails or ())))
