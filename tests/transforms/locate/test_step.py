import numpy as np
import pytest

from tests.factories import labelled_batch, predictions
from tests.small_models import engine_of, pixels, predict, resnet
from transforms.locate.boxes import find_boxes, iou
from transforms.locate.settings import BoxSettings
from transforms.locate.step import agreement, locate_batch
from transforms.records import Image, Shard, ShardBatch

SETTINGS = BoxSettings(threshold_frac=0.4, normalization="minmax")


def test_a_batch_gets_the_boxes_of_every_class():
    batch = labelled_batch(3, boxes=[], predictions=predictions(3, top_k=2))
    located = locate_batch(batch, SETTINGS)
    assert [[len(boxes) for boxes in row] for row in located.boxes] == [[1, 1]] * 3
    # the probabilities of the fake are 0.5 and 0.25
    first, second = (boxes[0] for boxes in located.boxes[0])
    assert first.score == pytest.approx(2 * second.score)
    assert "locate" in located.seconds
    assert locate_batch(labelled_batch(0), SETTINGS).boxes == []


def square(x: int, y: int, side: int) -> np.ndarray:
    cam = np.zeros((224, 224), np.float32)
    cam[y : y + side, x : x + side] = 1
    return cam


def test_agreement():
    # two squares of 40 that share a half: 800 of 2400
    assert agreement(square(10, 10, 40), square(30, 10, 40), SETTINGS) == pytest.approx(1 / 3)
    assert agreement(square(10, 10, 40), square(10, 10, 40), SETTINGS) == 1
    assert agreement(square(10, 10, 40), square(100, 10, 40), SETTINGS) == 0
    assert agreement(square(10, 10, 40), np.zeros((7, 7), np.float32), SETTINGS) is None


def batch(predictions) -> ShardBatch:
    images = [Image(str(i), "", i, None, 224, 224, "", (0, 0, 224, 224), None) for i in range(3)]
    return ShardBatch(Shard("a", "a", "images", "", 0), 0, 3, True, images, predictions=predictions)


def test_located_batches_carry_the_agreement(tmp_path):
    images = pixels()
    flipped = predict(engine_of(resnet(), tmp_path, flip=True), images)
    located = locate_batch(batch(flipped), SETTINGS)
    for row, consistency in enumerate(located.consistency):
        one, mirrored = (find_boxes(cam, SETTINGS)[0] for cam in flipped.mirror_pair[row])
        assert consistency == pytest.approx(iou(one, mirrored))
        assert located.boxes[row][0][0][:4] == find_boxes(flipped.cams[row, 0], SETTINGS)[0][:4]
    assert locate_batch(batch(flipped._replace(mirror_pair=None)), SETTINGS).consistency == []
