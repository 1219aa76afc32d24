import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.util import assert_that, equal_to

from tests.factories import FakeEngine, engine_settings, image, labelled_batch, reject, shard
from transforms.predict import engines
from transforms.predict.step import CamModelHandler, label_batch, predict_or_bisect
from transforms.records import ErrorType, ShardBatch, Stage
from transforms.worker import coder
from transforms.worker.background import settled


def pixels_of(*values):
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


def bisect(*values):
    engine = FakeEngine()
    rows, found, failures = predict_or_bisect(engine, pixels_of(*values), [None] * len(values))
    classes = [] if found is None else found.class_index.ravel().tolist()
    return rows, classes, {row: failure.error_type for row, failure in failures.items()}, engine.sizes


def test_a_good_batch_is_one_call():
    assert bisect(1, 2, 3, 4) == ([0, 1, 2, 3], [1, 2, 3, 4], {}, [4])


def test_a_failing_batch_is_halved_until_the_cause_is_alone():
    rows, classes, failures, sizes = bisect(1, 2, 3, 4, 5, 13, 7, 8)
    assert rows == [0, 1, 2, 3, 4, 6, 7]
    assert classes == [1, 2, 3, 4, 5, 7, 8]
    assert failures == {5: ErrorType.INFERENCE_FAILED}
    # whole; first half; second half, fails; its first half (5, 13), fails; 5; 13, fails; (7, 8)
    assert sizes == [8, 4, 4, 2, 1, 1, 2]


def test_values_that_are_not_finite_are_failures_of_their_own():
    assert bisect(1, 14, 3)[:3] == ([0, 2], [1, 3], {1: ErrorType.NOT_FINITE})
    assert bisect(14)[:3] == ([], [], {0: ErrorType.NOT_FINITE})
    assert bisect(14, 13, 5)[:3] == ([2], [5], {0: ErrorType.NOT_FINITE, 1: ErrorType.INFERENCE_FAILED})


class BrokenEngine(FakeEngine):
    def predict(self, pixels, labels):
        raise RuntimeError("out of order")


@pytest.mark.parametrize("count", [1, 3])
def test_every_image_of_a_batch_may_fail_but_not_those_that_are_known_to_be_good(count):
    images = [13] * count
    assert bisect(*images)[:3] == ([], [], dict.fromkeys(range(count), ErrorType.INFERENCE_FAILED))
    with pytest.raises(RuntimeError, match="the model fails on every image: RuntimeError: out of order"):
        predict_or_bisect(BrokenEngine(), pixels_of(*images), [None] * count)


def unlabelled(*values, first=10, rejects=()):
    images = [image(first + place) for place in range(len(values))]
    return ShardBatch(shard(), first, len(values) + len(rejects), True, images, pixels_of(*values), list(rejects))


def test_images_that_fail_become_rejects_in_their_place():
    batch = unlabelled(1, 13, 3, rejects=[reject(13)])
    labelled = label_batch(batch, FakeEngine())
    assert [kept.index_in_shard for kept in labelled.images] == [10, 12]
    assert len(labelled.predictions.class_index) == 2
    assert labelled.pixels is None  # no longer needed
    assert [(r.index_in_shard, r.stage, r.error_type) for r in labelled.rejects] == [
        (11, Stage.PREDICT, ErrorType.INFERENCE_FAILED),
        (13, Stage.DECODE, ErrorType.CORRUPT),
    ]
    assert "an image of thirteen" in labelled.rejects[0].message
    assert (labelled.precision, labelled.device) == ("float32", "a fake")
    assert "predict" in labelled.seconds
    assert labelled.read == batch.read


def test_labels_reach_the_model():
    seen = []

    class Recorder(FakeEngine):
        def predict(self, pixels, labels):
            seen.extend(labels)
            return super().predict(pixels, labels)

    batch = unlabelled(1, 2)
    batch.images[0] = image(10, label=4)
    label_batch(batch, Recorder())
    assert seen == [4, None]


@pytest.mark.parametrize("values", [(14,), (13, 13), (13, 14)])
def test_a_batch_that_fails_altogether_is_rejects_only(values):
    labelled = label_batch(unlabelled(*values), FakeEngine())
    assert (labelled.images, labelled.predictions) == ([], None)
    assert [reject.index_in_shard for reject in labelled.rejects] == [10 + place for place in range(len(values))]


@pytest.mark.parametrize("empty", [labelled_batch(0), labelled_batch(0, rejected=2)])
def test_batches_without_images_skip_the_model(empty):
    assert CamModelHandler(engine_settings()).run_inference(empty, None) == [empty]


def test_under_run_inference_each_batch_stays_one_element(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", [engines.EngineKind(FakeEngine)])
    coder.register()
    batches = [unlabelled(1, 2, 3, 4, 5), unlabelled(6), labelled_batch(0)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        sizes = (
            pipeline
            | beam.Create([None])
            | beam.FlatMap(lambda _: batches).with_output_types(ShardBatch)
            | RunInference(CamModelHandler(engine_settings())).with_output_types(ShardBatch)
            | beam.Map(settled)
            | beam.Map(lambda batch: (len(batch), batch.device))
        )
        assert_that(sizes, equal_to([(0, ""), (1, "a fake"), (5, "a fake")]))
