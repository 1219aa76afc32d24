"""Where the rows go and which columns they have, and how much may be rejected."""

from typing import Literal

import pydantic

from transforms.settings import Settings


class OutputSettings(Settings):
    """Where the rows go, and which of the bulky columns they have."""

    path: str | None = None
    """The output folder; local, gs:// or s3://."""
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    """Of the Parquet files."""
    cams: bool = True
    """Whether rows keep the raw class maps."""
    logits: bool = False
    """Whether rows keep the logits of all classes."""
    embeddings: bool = False
    """Whether rows keep the pooled activations."""
    activations: bool = False
    """Whether rows keep the activations themselves, 400 KB an image for ResNet-50."""


class FailureSettings(Settings):
    """How much may go wrong."""

    max_fraction: float = pydantic.Field(0.01, ge=0, le=1)
    """Of the images; where more are rejected the run has failed."""
