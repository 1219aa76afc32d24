import cv2
import numpy as np

from tests.factories import image
from transforms.draw.thumbnails import render
from transforms.records import Box


def drawn(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def grey_image(width=400, height=200, preview=(200, 100), view=None):
    return image(width=width, height=height, view=view)._replace(preview=np.full((*preview[::-1], 3), 128, np.uint8))


def hot_right():
    """A map that is 0 on the left and 1 on the right."""
    return np.repeat([[0.0] * 3 + [1.0] * 4], 7, axis=0).astype(np.float32)


def test_size_and_aspect_are_the_previews():
    assert drawn(render(grey_image(), hot_right(), None, 80)).shape == (100, 200, 3)


def test_heat_is_red_and_cold_is_blue():
    picture = drawn(render(grey_image(), hot_right(), None, 80))
    red, _, blue = picture[50, 190]
    assert red > blue + 20
    red, _, blue = picture[50, 10]
    assert blue > red + 20


def test_only_the_view_is_heated():
    picture = drawn(render(grey_image(view=(100, 0, 300, 200)), hot_right(), None, quality=100))
    assert np.abs(picture[:, :40] - 128).max() < 4
    assert np.abs(picture[:, 160:] - 128).max() < 4
    assert np.ptp(picture[50, 140]) > 50


def test_box_is_drawn_where_it_lies():
    # in original pixels; the preview is half that size: a white line from (20, 10) to (89, 59)
    picture = drawn(render(grey_image(), hot_right(), Box(40, 20, 180, 120, 0.5, 0.2), quality=100))
    plain = drawn(render(grey_image(), hot_right(), None, quality=100))
    for y, x in ((10, 50), (59, 50), (30, 20), (30, 89)):
        assert picture[y, x].min() > 180, (y, x)
    np.testing.assert_allclose(picture[35, 55], plain[35, 55], atol=6)  # inside, nothing is covered


def test_constant_map_and_tiny_previews_draw():
    for preview in ((1, 1), (224, 1), (3, 200)):
        picture = drawn(render(grey_image(preview=preview), np.ones((7, 7), np.float32), Box(0, 0, 400, 200, 1, 1), 80))
        assert picture.shape == (*preview[::-1], 3)


def test_the_preview_is_not_painted_over():
    original = grey_image()
    render(original, hot_right(), Box(0, 0, 10, 10, 1, 1), 80)
    assert (original.preview == 128).all()
