"""Where samples keep their image, their label and their id: where the user says, else where it is usual."""

from collections.abc import Container

from transforms.settings import Settings

USUAL_IMAGE = ("image/encoded", "image", "jpg", "jpeg", "png", "webp")  # the first that is there, and so on
USUAL_LABEL = ("image/class/label", "label", "cls")
USUAL_ID = ("image/filename", "image_id", "file_name", "__key__", "key", "id")


class Fields(Settings):
    """Where samples keep what."""

    image_field: str | None = None
    """Where a sample keeps its image; by default where its format usually does."""
    label_field: str | None = None
    """Where a sample keeps its own class index; by default where its format usually does."""
    id_field: str | None = None
    """Where a sample of TFRecord or Parquet keeps its id; elsewhere the id is the member's or the file's name."""


USUAL_FIELDS = Fields()


def first_present(names: tuple[str, ...], present: Container[str]) -> str | None:
    """Returns the first name that is there."""
    return next((name for name in names if name in present), None)
