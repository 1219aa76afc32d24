"""Bringing the model to workers on other machines: copied once into the output's store, loaded from there."""

import os
import posixpath
import tempfile

from transforms import model, store
from transforms.engine import Engine
from transforms.layout import Layout


def stage(engine: Engine, layout: Layout, fingerprint: str) -> str:
    """Returns a model source that every worker can read: the demo as it is, others as a copy in the output.

    A copy that is there already is not made again; its place is named by its content.

    Args:
      engine: with the model that is to be copied.
      layout: of the output.
      fingerprint: of the model.
    """
    source = engine.settings.source
    if source == "demo" or not (source == "imagenet" or store.is_local(source)):
        return source
    if source == "imagenet":
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "resnet50.keras")
            model.load_imagenet().save(path)
            return _copy([path], folder, layout, fingerprint, "resnet50.keras")
    root = posixpath.dirname(source) if source.endswith(".keras") else source
    copied = posixpath.basename(source) if source.endswith(".keras") else ""
    return _copy(model.files(source), root, layout, fingerprint, copied)


def _copy(paths: list[str], root: str, layout: Layout, fingerprint: str, name: str) -> str:
    """Copies files below `root` into the model's folder; returns the path of the one named there."""
    folder = layout.model(fingerprint)
    for path in paths:
        destination = store.join(folder, posixpath.relpath(path, root))
        if not store.exists(destination):
            store.write_bytes(destination, store.read_bytes(path), layout.temporary(f"model-{os.getpid()}", "file"))
    return store.join(folder, name) if name else folder
