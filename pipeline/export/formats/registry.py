"""The list of formats. To add one, write a module in this folder that declares FORMAT, and add its name here."""

import importlib

from pipeline.export.formats.format import Format

FORMATS = ("coco", "yolo", "voc", "webdataset", "csv")


def load_format(name: str) -> Format:
    """Returns a format by name. Its module is imported only now, so that the command line starts fast."""
    return importlib.import_module(f"pipeline.export.formats.{name}").FORMAT
