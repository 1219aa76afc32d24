"""What to read, and where samples keep what."""

from typing import Any

import pydantic

from transforms.read.fields import Fields
from transforms.read.formats.registry import FORMATS

AUTO = "auto"


class InputSettings(Fields):
    """What to read."""

    pattern: list[str] = []
    """Files, globs or folders; local, gs:// or s3://."""
    format: str = AUTO
    """Of the shards, a key of `formats.FORMATS`; `auto` tells it by name, or by content where the name tells none."""
    images_per_shard: int = pydantic.Field(1024, ge=1)
    """Image files that make one virtual shard."""

    @pydantic.field_validator("pattern", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @pydantic.field_validator("format")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in (AUTO, *FORMATS):
            raise ValueError(f"must be one of {', '.join((AUTO, *FORMATS))}")
        return value
