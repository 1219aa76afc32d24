import cv2
import numpy as np
import pytest

from pipeline.evaluate import scoring
from pipeline.evaluate.scoring import Normalization

# the numbers that the reference scorer's own tests expect
TENTHS = np.arange(0, 1, 0.2)
UNIMODAL = [[0, 0, 0, 0, 0], [0, 0.4, 0.4, 0.4, 0.6], [0, 0.4, 1, 0.8, 0.6], [0, 0.4, 0.4, 0.4, 0.6]]
MULTIMODAL = [[0.4, 0, 0.2, 0.2, 0.2], [0.4, 0.4, 0, 0.4, 0], [0, 0, 0, 0.4, 0], [1, 0.6, 0.8, 0.2, 0.2]]


@pytest.mark.parametrize(
    ("score_map", "expected"),
    [
        (UNIMODAL, [[1, 1, 4, 3], [1, 1, 4, 3], [2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]]),
        (MULTIMODAL, [[0, 0, 4, 3], [0, 0, 2, 2], [0, 3, 3, 3], [2, 3, 3, 3], [0, 3, 1, 3]]),
        (np.zeros((3, 3)), [[0, 0, 0, 0]] * 5),
    ],
)
def test_largest_contours_box_is_the_published_one(score_map, expected):
    boxes = scoring.contour_boxes(np.array(score_map, float), TENTHS)
    assert [found[0].tolist() for found in boxes] == expected


def test_all_contours_have_boxes_the_largest_first():
    score_map = np.zeros((10, 10))
    score_map[1:3, 1:3] = 1  # contour area 1 x 1
    score_map[5:9, 4:9] = 1  # contour area 3 x 4
    (boxes,) = scoring.contour_boxes(score_map, np.array([0.5]))
    assert boxes[0].tolist() == [4, 5, 9, 9]
    assert boxes[1:].tolist() == [[1, 1, 3, 3]]


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_a_map_outside_0_to_1_is_an_error(value):
    with pytest.raises(ValueError, match="must lie in"):
        scoring.contour_boxes(np.full((3, 3), value), TENTHS)


def test_iou_counts_the_last_pixels():
    zero = np.zeros((3, 4), int)
    assert scoring.inclusive_iou(zero, zero[:2]).tolist() == [[1, 1]] * 3
    # 5 x 5 and 2 x 5 pixels, 2 x 4 in common: 8 / (25 + 10 - 8)
    assert scoring.inclusive_iou(np.array([[1, 2, 5, 6]]), np.array([[3, 1, 4, 5]])) == 8 / 27


@pytest.mark.parametrize(
    ("box", "view", "expected"),
    [
        # last pixels 440 and 193: 111 * 224 / 500 = 49.7, 108 * 224 / 375 = 64.5, 197.1, 115.3
        ((111, 108, 441, 194), (0, 0, 500, 375), [49, 64, 197, 115]),
        ((0, 0, 224, 224), (0, 0, 224, 224), [0, 0, 223, 223]),
        ((10.5, 0, 20.5, 10), (0, 0, 224, 224), [10, 0, 20, 9]),  # touches pixel 20
        ((0, 0, 100, 50), (25, 0, 75, 50), [-112, 0, 331, 219]),  # (0 - 25) * 224 / 50, (99 - 25) * 224 / 50
    ],
)
def test_true_boxes_move_to_the_scorers_pixels(box, view, expected):
    assert scoring.scorer_pixels(np.array([box], float), np.array([view])).tolist() == [expected]


def test_ious_are_of_the_largest_and_of_the_best_contour():
    score_map = np.zeros((224, 224))
    score_map[:100, :100], score_map[150:200, 150:200] = 1, 0.5
    truth = np.array([[150, 150, 200, 200], [0, 0, 100, 100]])[:1]
    ious = scoring.ious_by_threshold(score_map, truth, np.array([0.2, 0.8]))
    assert ious[0].tolist() == [0, 0]
    assert ious[1].tolist() == [1, 0]  # the small contour is above 0.2 only


def test_met_thresholds_include_equality():
    assert scoring.iou_thresholds_met(np.array([0.0, 0.29, 0.3, 0.5, 0.69, 0.7, 1.0])).tolist() == [0, 0, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("text", ["minmax", "max", "ivr:45", "ivr:2.5"])
def test_normalizations_are_read_and_shown(text):
    assert str(Normalization.parse(text)) == text


@pytest.mark.parametrize("text", ["ivr", "ivr:100", "ivr:x", "ivr:-1", "max:3", "none", ""])
def test_an_unknown_normalization_is_an_error(text):
    with pytest.raises(ValueError, match="minmax, max, pas or ivr:PERCENTILE"):
        Normalization.parse(text)


@pytest.mark.parametrize("text", ["minmax", "max", "ivr:30"])
def test_every_normalization_ends_at_one_exactly(text):
    generator = np.random.default_rng(0)
    for _ in range(50):
        large = cv2.resize(generator.normal(size=(7, 7)).astype(np.float32), (224, 224))
        normalized = Normalization.parse(text).apply(large)
        assert (normalized.min(), normalized.max()) == (0, 1)
