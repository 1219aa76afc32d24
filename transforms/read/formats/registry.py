"""The formats of input. To add one, write a module with its reader and its `Format`, and list that here."""

import re

from transforms.read.formats import image_files, parquet, tfrecord, webdataset

_ALL = [
    webdataset.FORMAT,
    tfrecord.FORMAT,
    parquet.FORMAT,
    image_files.FORMAT,
]
FORMATS = {format.name: format for format in _ALL}
NO_INPUT = ""  # what stands for the format of a file that is neither shard nor image
_NO_INPUT_NAME = re.compile(
    r"(^|/)[._][^/]*$|\.(cls|csv|html?|idx|index|jsonl?|md|npy|npz|pickle|pkl|py|pyd|tsv|txt|xml|ya?ml)$"
)


def format_of_name(path: str) -> str | None:
    """Returns the format that a file's name tells: a key of FORMATS or NO_INPUT, None where it tells none."""
    path = path.lower()
    found = next((name for name, format in FORMATS.items() if format.file_name.search(path)), None)
    return NO_INPUT if found is None and _NO_INPUT_NAME.search(path) else found


def format_of_content(head: bytes) -> str:
    """Returns the format that a file's first `samples.HEAD_BYTES` tell: a key of FORMATS or NO_INPUT."""
    return next((name for name, format in FORMATS.items() if format.starts(head)), NO_INPUT)
