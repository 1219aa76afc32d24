"""The records that flow through the pipeline. Boxes are (x0, y0, x1, y1), x1/y1 exclusive, in original pixels."""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np


class Stage(StrEnum):
    """Where an image was rejected."""

    READ = "read"
    DECODE = "decode"
    PREDICT = "predict"


class ErrorType(StrEnum):
    """Why an image was rejected. The values are stable: people filter on them."""

    EMPTY = "empty"  # no bytes at all
    UNKNOWN_FORMAT = "unknown_format"  # not an image that Pillow knows
    TRUNCATED = "truncated"  # the file ends too soon
    CORRUPT = "corrupt"  # an image, but its content can't be decoded
    TOO_MANY_PIXELS = "too_many_pixels"  # a decompression bomb, or a picture of its size
    TOO_MANY_BYTES = "too_many_bytes"  # the encoded image is larger than any photograph
    NO_IMAGE = "no_image"  # a sample without an image
    UNREADABLE = "unreadable"  # the image file is gone, or may not be read
    BAD_LABEL = "bad_label"  # a label that is not a whole number
    BAD_ID = "bad_id"  # no id where it is asked for
    DAMAGED_SHARD = "damaged_shard"  # the shard can't be read beyond this point
    INFERENCE_FAILED = "inference_failed"  # the model raised an error on this image alone
    NOT_FINITE = "not_finite"  # the model gave NaN or infinity


@dataclass(frozen=True)
class Shard:
    """One unit of work: an input file, or a group of image files.

    Attributes:
      shard_id: the input's name plus a hash of its URI; safe as a file name.
      uri: of the shard file; for a group of image files, of the folder their ids are relative to.
      format: the key of its reader.
      version: changes when the input changes (size and modification time).
      num_bytes: of the input.
      members: the image files of a group, relative to `uri`; empty for a shard file.
      output_bytes: of its files of rows and of rejects when the output was listed, 0 for no file; None if it was not.
    """

    shard_id: str
    uri: str
    format: str
    version: str
    num_bytes: int
    members: tuple[str, ...] = ()
    output_bytes: tuple[int, int] | None = None


class Sample(NamedTuple):
    """One encoded image as a reader finds it.

    Attributes:
      image_id: the source's own key, verbatim.
      uri: where this very image can be read again.
      encoded: the file's bytes.
      label: the sample's own class index, if it has one.
    """

    image_id: str
    uri: str
    encoded: bytes
    label: int | None = None


class Reject(NamedTuple):
    """An image that could not be labelled, and why."""

    image_id: str
    uri: str
    index_in_shard: int
    stage: Stage
    error_type: ErrorType
    message: str


class Image(NamedTuple):
    """A decoded image, reduced to what later stages need of it.

    Attributes:
      width, height: of the original, after EXIF orientation.
      sha256: of the encoded bytes, hexadecimal.
      view: the part of the original that the model sees, as a box.
      preview: (h, w, 3) uint8 RGB, the whole image at thumbnail size; None where no thumbnails are made.
    """

    image_id: str
    uri: str
    index_in_shard: int
    label: int | None
    width: int
    height: int
    sha256: str
    view: tuple[int, int, int, int]
    preview: np.ndarray | None


class Box(NamedTuple):
    """A rectangle in original pixels.

    Attributes:
      score: mean of the normalised map inside the box times the probability of the class.
      area_frac: of the image.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    area_frac: float


class Predictions(NamedTuple):
    """What the model says of a batch of n images, k classes each, most probable first.

    The last place is for the sample's own label, where it is asked for and not among the top k; else it is not present.

    Attributes:
      class_index: (n, k) int32.
      probability: (n, k) float32, softmax over all classes.
      logit: (n, k) float32.
      rank: (n, k) int32, 0 for the most probable class.
      present: (n, k) bool, whether the place holds a class.
      cams: (n, k, h, w) float32, the raw class maps; averaged with those of the mirrored image, where asked for.
      mirror_pair: (n, 2, h, w) float32, the top class's map of the image and that of the mirrored image, mirrored back;
        where maps are averaged.
      logits: (n, classes) float32, where asked for.
      embedding: (n, channels) float32, the pooled activations, where asked for.
      activations: (n, h, w, channels) float32, where asked for.
    """

    class_index: np.ndarray
    probability: np.ndarray
    logit: np.ndarray
    rank: np.ndarray
    present: np.ndarray
    cams: np.ndarray
    logits: np.ndarray | None = None
    embedding: np.ndarray | None = None
    activations: np.ndarray | None = None
    mirror_pair: np.ndarray | None = None

    def select(self, rows: np.ndarray | slice) -> "Predictions":
        """Returns the predictions of some of the images."""
        return Predictions._make(None if field is None else field[rows] for field in self)

    @classmethod
    def concatenate(cls, parts: "list[Predictions]") -> "Predictions":
        """Joins the predictions of consecutive images."""
        fields = zip(*parts, strict=True)
        return cls._make(None if field[0] is None else np.concatenate(field) for field in fields)


@dataclass(frozen=True)
class ShardDone:
    """The totals of one committed shard: the content of its marker.

    Attributes:
      fingerprint: of the model and the settings that made the rows.
      seconds: per stage, by name.
      precision, device: as resolved where the shard was labelled.
      ignored: members of the shard that are neither image nor label.
      images_bytes, rejects_bytes: the sizes of its files; None in markers of early versions.
    """

    shard_id: str
    uri: str
    input_version: str
    fingerprint: str
    read: int
    written: int
    rejected: int
    rejects_by_type: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    precision: str = ""
    device: str = ""
    run_id: str = ""
    ignored: int = 0
    images_bytes: int | None = None
    rejects_bytes: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether this is what a marker holds, and not what stands in for one that can't be read."""
        return bool(self.fingerprint)


@dataclass(frozen=True)
class ShardBatch:
    """A run of consecutive images of one shard: the one record of the chain from ReadShard to WriteShard.

    Later stages fill in what earlier ones left out. `read` counts the images and rejects of this batch; the batches of
    a shard follow each other in order, within one bundle, and the last one says so.

    Attributes:
      first_index: index_in_shard of the batch's first image or reject.
      pixels: (n, side, side, 3) uint8 RGB, the model's input for `images`.
      boxes: for each image and each of its k classes, the boxes, best first.
      consistency: for each image, how well the boxes of it and of its mirror image agree; None where that is not known.
      thumbnails: JPEG bytes for each image.
      seconds: spent on this batch so far, by stage.
      ignored: members of the shard that are neither image nor label; known at its last batch.
      done: the shard was committed earlier: there is nothing to do but to pass its totals on.
      pending: the batch as it will be, where work on it goes on in the background; the fields are then not filled in.
    """

    shard: Shard
    first_index: int
    read: int
    is_last: bool
    images: list[Image] = field(default_factory=list)
    pixels: np.ndarray | None = None
    rejects: list[Reject] = field(default_factory=list)
    predictions: Predictions | None = None
    boxes: list[list[list[Box]]] = field(default_factory=list)
    consistency: list[float | None] = field(default_factory=list)
    thumbnails: list[bytes] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    ignored: int = 0
    precision: str = ""
    device: str = ""
    done: ShardDone | None = None
    pending: "Future[ShardBatch] | None" = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> Predictions:
        """The predictions, in stages that come after the model."""
        if self.predictions is None:
            raise ValueError(f"{self.shard.shard_id} at {self.first_index} has not been through the model")
        return self.predictions

    def after(self, stage: str, started: float, **changes: Any) -> "ShardBatch":
        """Returns the batch as a stage leaves it; `started` is when it started, by `time.perf_counter()`."""
        return replace(self, seconds=self.seconds | {stage: time.perf_counter() - started}, **changes)
