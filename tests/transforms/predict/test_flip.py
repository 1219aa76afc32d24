"""Averaging with the mirrored image, and how well the two boxes agree."""

import numpy as np
import pytest

from tests.small_models import engine_of, pixels, predict, resnet
from transforms.locate.boxes import agreement, find_boxes, iou, locate_batch
from transforms.records import Image, Shard, ShardBatch


def test_maps_are_averaged_and_scores_are_not(tmp_path):
    model, images = resnet(), pixels()
    labels = np.array([0, 1, 2], np.int32)
    settings = {"top_k": 5, "include_label": True}
    plain = engine_of(model, tmp_path, **settings)
    one, other = plain.predict(images, labels), plain.predict(images[:, :, ::-1], labels)
    got = engine_of(model, tmp_path, **settings, flip=True).predict(images, labels)
    np.testing.assert_allclose(got.logit, one.logit, atol=1e-5)
    np.testing.assert_allclose(got.probability, one.probability, atol=1e-6)
    for row in range(len(images)):
        for place, class_index in enumerate(one.class_index[row]):
            mirrored = other.cams[row, list(other.class_index[row]).index(class_index), :, ::-1]
            np.testing.assert_allclose(got.cams[row, place], (one.cams[row, place] + mirrored) / 2, atol=1e-5)
            if place == 0:
                np.testing.assert_allclose(got.views[row], [one.cams[row, 0], mirrored], atol=1e-5)
    assert np.abs(got.cams - one.cams).max() > 0.01


def square(x: int, y: int, side: int) -> np.ndarray:
    cam = np.zeros((224, 224), np.float32)
    cam[y : y + side, x : x + side] = 1
    return cam


def test_agreement():
    # two squares of 40 that share a half: 800 of 2400
    assert agreement(square(10, 10, 40), square(30, 10, 40)) == pytest.approx(1 / 3)
    assert agreement(square(10, 10, 40), square(10, 10, 40)) == 1
    assert agreement(square(10, 10, 40), square(100, 10, 40)) == 0
    assert agreement(square(10, 10, 40), np.zeros((7, 7), np.float32)) is None


def batch(predictions) -> ShardBatch:
    images = [Image(str(i), "", i, None, 224, 224, "", (0, 0, 224, 224), None) for i in range(3)]
    return ShardBatch(Shard("a", "a", "images", "", 0), 0, 3, True, images, predictions=predictions)


def test_located_batches_carry_the_agreement(tmp_path):
    images = pixels()
    flipped = predict(engine_of(resnet(), tmp_path, flip=True), images)
    located = locate_batch(batch(flipped), 0.4, "minmax")
    for row, consistency in enumerate(located.consistency):
        one, mirrored = (find_boxes(view, 0.4)[0] for view in flipped.views[row])
        assert consistency == pytest.approx(iou(one, mirrored))
        assert located.boxes[row][0][0][:4] == find_boxes(flipped.cams[row, 0], 0.4)[0][:4]
    assert locate_batch(batch(flipped._replace(views=None)), 0.4).consistency == []
