"""`cambeam inspect`: what a model is and how it would be run, or how far an output folder is."""

import time

import numpy as np
import rich.console
import rich.table

from pipeline.config import Config
from pipeline.plan import read_plan
from pipeline.run import ExitCode, UsageError, engine_settings
from transforms import model, store
from transforms.engine import Engine
from transforms.layout import Layout

_TRIAL_IMAGES, _TRIAL_SECONDS = 64, 2.0


def inspect_model(config: Config, console: rich.console.Console) -> ExitCode:
    """Loads a model and prints its head, its precision and its speed on this machine."""
    engine = Engine(engine_settings(config))
    classifier, device = engine.classifier, engine.device
    names = model.class_names(config.model.source, config.model.class_names, engine.num_classes)
    table = _table(config.model.source)
    table.add_row("model", classifier.name)
    table.add_row("fingerprint", model.fingerprint(config.model.source))
    table.add_row("head", classifier.head.description)
    table.add_row("input", f"{classifier.side_px}x{classifier.side_px}, preprocessing {classifier.preprocess}")
    table.add_row("classes", f"{engine.num_classes}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}")
    table.add_row("device", device.name)
    table.add_row("precision", f"{device.precision} ({device.reason})")
    table.add_row("speed", f"{_images_per_second(engine):.0f} images/s, the model alone")
    rich.console.Console().print(table)
    return ExitCode.DONE


def _images_per_second(engine: Engine) -> float:
    pixels = np.zeros((_TRIAL_IMAGES, engine.side_px, engine.side_px, 3), np.uint8)
    labels = np.full(_TRIAL_IMAGES, -1, np.int32)
    engine.predict(pixels, labels)
    started, images = time.perf_counter(), 0
    while time.perf_counter() - started < _TRIAL_SECONDS:
        engine.predict(pixels, labels)
        images += _TRIAL_IMAGES
    return images / (time.perf_counter() - started)


def inspect_output(path: str, console: rich.console.Console) -> ExitCode:
    """Prints how far an output folder is."""
    layout = Layout(path)
    planned = [shard.shard_id for shard in read_plan(layout.plan)]
    if not planned:
        raise UsageError(f"{path!r} is not the output of a run: it has no {layout.plan}")
    done = [store.read_json(layout.marker(name.removesuffix(".json"))) for name in store.names(layout.marker_folder)]
    done = [marker for marker in done if marker and marker["shard_id"] in set(planned)]
    settings = store.read_json(layout.settings) or {}
    table = _table(path)
    table.add_row("complete", "yes" if store.exists(layout.success) else "no")
    table.add_row("shards", f"{len(done)} of {len(planned)} done")
    table.add_row("rows", str(sum(marker["written"] for marker in done)))
    table.add_row("rejects", str(sum(marker["rejected"] for marker in done)))
    table.add_row("model", settings.get("model", "unknown"))
    table.add_row("precision", ", ".join(sorted({marker["precision"] for marker in done if marker["precision"]})))
    rich.console.Console().print(table)
    return ExitCode.DONE


def _table(title: str) -> rich.table.Table:
    return rich.table.Table("", "", title=title, show_header=False, title_justify="left")
