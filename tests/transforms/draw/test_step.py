import pytest

from tests.factories import labelled_batch
from transforms.draw.settings import ThumbnailSettings
from transforms.draw.step import render_batch


def test_batches():
    batch = render_batch(labelled_batch(3, thumbnails=None), ThumbnailSettings())
    assert [thumbnail[:2] for thumbnail in batch.thumbnails] == [b"\xff\xd8"] * 3
    assert (
        render_batch(labelled_batch(3, thumbnails=None), ThumbnailSettings(draw_boxes=False)).thumbnails
        != batch.thumbnails
    )
    assert render_batch(labelled_batch(0), ThumbnailSettings()).thumbnails is None
    no_boxes = labelled_batch(1, thumbnails=None, boxes=[[[]]])
    assert len(render_batch(no_boxes, ThumbnailSettings()).thumbnails) == 1


@pytest.mark.parametrize("quality", [0, 101])
def test_bad_quality_fails_at_construction(quality):
    with pytest.raises(ValueError, match=f"quality\n.*input_value={quality}"):
        ThumbnailSettings(quality=quality)
