"""What there is to know of a format of input. Each format's module declares its own; `formats.py` lists them."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from transforms.read.fields import Fields
from transforms.read.samples import Samples
from transforms.records import Shard


class Reader(Protocol):
    """Reads the samples of a shard, in order and in bounded memory.

    What it passes over is added to `ignored`, by the name of the counter that shows it (see docs/metrics.md).
    """

    def __call__(self, shard: Shard, fields: Fields = ..., ignored: Counter[str] | None = ...) -> Samples: ...


@dataclass(frozen=True)
class Format:
    """A format of input: how its files are told from others, planned and read.

    Attributes:
      name: as `input.format` has it.
      read: its reader.
      file_name: is found in the paths of its files, in lower case.
      starts: tells whether a file is of this format, by its first `samples.HEAD_BYTES`.
      grouped: its files are images, of which the plan puts many into a shard; else every file is a shard.
      may_describe: a file that has the name of another shard, or of a folder of images, only describes that.
    """

    name: str
    read: Reader
    file_name: re.Pattern[str]
    starts: Callable[[bytes], bool]
    grouped: bool = False
    may_describe: bool = False
