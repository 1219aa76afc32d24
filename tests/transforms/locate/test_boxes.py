import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.factories import image
from transforms.locate.boxes import MapBox, find_boxes, iou, to_original
from transforms.locate.settings import BoxSettings
from transforms.records import Box


def full_size(*rectangles):
    """A map of 224x224, which is not resized, that is 1 in rectangles (x0, y0, x1, y1) and 0 elsewhere."""
    cam = np.zeros((224, 224), np.float32)
    for x0, y0, x1, y1 in rectangles:
        cam[y0:y1, x0:x1] = 1
    return cam


def boxes_of(cam, **changes):
    return find_boxes(cam, BoxSettings(**({"threshold_frac": 0.2, "normalization": "minmax"} | changes)))


def corners(boxes):
    return [tuple(box[:4]) for box in boxes]


def test_box_of_a_rectangle_is_the_rectangle():
    (box,) = boxes_of(full_size((10, 20, 110, 70)))
    assert box == MapBox(10, 20, 110, 70, 1.0)


def test_score_is_the_mean_inside_the_box():
    cam = full_size((0, 0, 100, 10), (0, 10, 50, 20))  # an L: 1500 of the 2000 pixels of its box
    (box,) = boxes_of(cam)
    assert tuple(box[:4]) == (0, 0, 100, 20)
    assert box.score == pytest.approx(0.75)


def test_only_the_largest_component_makes_the_box():
    assert corners(boxes_of(full_size((0, 0, 20, 20), (100, 100, 180, 160)))) == [(100, 100, 180, 160)]


def test_components_that_touch_at_a_corner_are_one():
    assert corners(boxes_of(full_size((0, 0, 20, 20), (20, 20, 40, 40)))) == [(0, 0, 40, 40)]


def test_all_components_that_are_large_enough_largest_first():
    # 1 % of 224 x 224 is 501.76: 22 x 22 = 484 is too small, 23 x 23 = 529 is not
    cam = full_size((0, 0, 22, 22), (50, 0, 73, 23), (100, 100, 200, 200))
    assert corners(boxes_of(cam, components="all", min_area_frac=0.01)) == [(100, 100, 200, 200), (50, 0, 73, 23)]
    assert len(boxes_of(cam, components="all", min_area_frac=0)) == 3


def test_the_largest_component_makes_a_box_however_small():
    cam = full_size((7, 8, 8, 9))
    for components in ("largest", "all"):
        assert corners(boxes_of(cam, components=components, min_area_frac=0.5)) == [(7, 8, 8, 9)]


@pytest.mark.parametrize("value", [-1.0, 0.0])
@pytest.mark.parametrize("normalization", ["minmax", "max", "ivr"])
def test_constant_maps_have_no_box(value, normalization):
    assert boxes_of(np.full((7, 7), value, np.float32), normalization=normalization) == []


def test_threshold_is_a_share_of_the_maximum():
    cam = np.tile(np.arange(224, dtype=np.float32), (224, 1))  # x / 223 once normalised
    # more than 0.2 of the maximum: x > 44.6
    assert corners(boxes_of(cam, threshold_frac=0.2)) == [(45, 0, 224, 224)]
    assert corners(boxes_of(cam, threshold_frac=0.5)) == [(112, 0, 224, 224)]


def test_threshold_does_not_see_scale_or_offset_of_the_map():
    rng = np.random.default_rng(0)
    cam = rng.normal(size=(7, 7)).astype(np.float32)
    assert corners(boxes_of(cam)) == corners(boxes_of(cam * 8 - 3))


def test_small_maps_are_upsampled_half_pixel_centred():
    # One hot cell in the middle of 7x7: its centre lies at 112, and the map falls linearly to 0 one cell (32 px) away.
    # Pixel i has its centre at i + 0.5; above 0.5 of the maximum are those less than about 16 px from 112: 96..127.
    # Pixel 111 has 1 - 0.5 / 32 on each axis, so the maximum is (63 / 64)^2; on the middle row the value at distance d
    # is (1 - d / 32) * 63 / 64, which exceeds half the maximum for d < 32 - 31.5 / 2 = 16.25, that is for d <= 15.5.
    cam = np.zeros((7, 7), np.float32)
    cam[3, 3] = 1
    assert corners(boxes_of(cam, threshold_frac=0.5)) == [(96, 96, 128, 128)]


def test_squashed_boxes_stretch_to_the_original():
    box = to_original(MapBox(56, 112, 168, 224, 0.5), image(width=448, height=112), probability=0.5)
    # 448 / 224 = 2 across, 112 / 224 = 0.5 down
    assert box == Box(112, 56, 336, 112, 0.25, (224 * 56) / (448 * 112))


def test_cropped_boxes_are_moved_into_the_original():
    box = to_original(MapBox(0, 0, 224, 112, 1.0), image(width=512, height=256, view=(144, 16, 368, 240)), 1.0)
    assert box == Box(144, 16, 368, 128, 1.0, (224 * 112) / (512 * 256))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    cam=hnp.arrays(np.float32, (7, 7), elements=st.floats(-100, 100, width=32)),
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    components=st.sampled_from(["largest", "all"]),
)
def test_boxes_lie_inside_the_image(cam, width, height, components):
    for box in boxes_of(cam, components=components):
        x0, y0, x1, y1, score, area_frac = to_original(box, image(width=width, height=height, preview_px=None), 1.0)
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert 0 <= score <= 1.00001
        assert 0 < area_frac <= 1.00001


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold_frac": 0.0},
        {"threshold_frac": 1.0},
        {"normalization": "no"},
        {"components": "some"},
        {"min_area_frac": 1},
    ],
)
def test_bad_settings_fail_at_construction(bad):
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=rf"{name}\n.*input_value={value!r}"):
        BoxSettings(**bad)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),  # x1 is exclusive: they only touch
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150),
        ((0, 0, 10, 10), (2, 2, 4, 4), 4 / 100),
        ((0, 0, 10, 10), (20, 20, 30, 30), 0.0),
        ((1, 2, 6, 7), (3, 1, 5, 6), 8 / 27),  # the published scorer's [1,2,5,6], [3,1,4,5], there inclusive
    ],
)
def test_iou(a, b, expected):
    assert iou(a, b) == pytest.approx(expected)
    assert iou(b, a) == pytest.approx(expected)
