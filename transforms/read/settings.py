"""What to read, and where samples keep what."""

from typing import Any, Literal

import pydantic

from transforms.settings import Settings


class InputSettings(Settings):
    """What to read."""

    pattern: list[str] = []
    """Files, globs or folders; local, gs:// or s3://."""
    format: Literal["auto", "webdataset", "tfrecord", "parquet", "images"] = "auto"
    """Of the shards; `auto` tells it by name, or by content where the name tells none."""
    image_field: str | None = None
    """Where a sample keeps its image; by default where its format usually does."""
    label_field: str | None = None
    """Where a sample keeps its own class index; by default where its format usually does."""
    id_field: str | None = None
    """Where a sample of TFRecord or Parquet keeps its id; elsewhere the id is the member's or the file's name."""
    images_per_shard: int = pydantic.Field(1024, ge=1)
    """Image files that make one virtual shard."""

    @pydantic.field_validator("pattern", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value
