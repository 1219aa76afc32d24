"""`cambeam inspect`: what a model is and how it would be run, or how far an output folder is and what is left to do."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import rich.console
import rich.table

from pipeline.config import Config
from pipeline.exit_code import ExitCode
from pipeline.inspect.memory import peak_bytes
from pipeline.rows.output import Output, open_output
from pipeline.run.fingerprint import fingerprint
from transforms.model import sources
from transforms.output.layout import IMAGES, REJECTS
from transforms.output.plan import input_version, shard_paths
from transforms.output.row_files import wrong_file, wrong_sizes
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.engines import shared_engine
from transforms.records import Shard
from transforms.store import files as store
from transforms.worker.threads import thread_pool

TRIAL_SECONDS = 2.0  # for which the model runs to measure its speed
_NAMED = 3  # shards, of many


def inspect_model(config: Config) -> ExitCode:
    """Loads a model and prints its head, its precision, and its speed and memory on this machine."""
    chosen = EngineSettings.resolve(config.model, config.cam, config.output)
    source, size, engine = sources.find(chosen.model.source), chosen.batch_size, shared_engine(chosen)
    described, device = engine.description, engine.device
    names = sources.class_names(chosen.model, engine.num_classes)
    pixels = np.zeros((size, engine.side_px, engine.side_px, 3), np.uint8)
    memory = peak_bytes(lambda: engine.predict(pixels, [None] * size), device.is_gpu)
    speed = _images_per_second(lambda: engine.predict(pixels, [None] * size), size)
    table = _table(source.location)
    table.add_row("model", described.name)
    table.add_row("fingerprint", source.fingerprint())
    table.add_row("head", described.head)
    table.add_row("input", f"{engine.side_px}x{engine.side_px}, preprocessing {described.preprocess}")
    table.add_row("classes", f"{engine.num_classes}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}")
    table.add_row("device", device.name)
    table.add_row("precision", f"{device.precision} ({device.reason})")
    table.add_row("speed", f"{speed:.0f} images/s, the model alone, {size} images a batch")
    table.add_row("memory", _megabytes(memory, device.is_gpu))
    rich.console.Console().print(table)
    return ExitCode.DONE


def _megabytes(memory: int | None, on_gpu: bool) -> str:
    where = "on the GPU" if on_gpu else "for the process"
    return f"{memory / 1e6:.0f} MB {where} while it labels a batch" if memory else "can't be measured here"


def _images_per_second(predict: Callable[[], Any], batch_size: int) -> float:
    started, images = time.perf_counter(), 0
    while time.perf_counter() - started < TRIAL_SECONDS:
        predict()
        images += batch_size
    return images / (time.perf_counter() - started)


def inspect_output(path: str) -> ExitCode:
    """Prints how far an output folder is, how it was made, and what the same command would do now."""
    output = open_output(path)
    done, settings, damaged = output.done.values(), output.settings, _damaged(output)
    of_others = [totals for totals in done if totals.fingerprint != fingerprint(settings)]
    complete = output.complete and len(done) == len(output.planned) and not damaged and not of_others
    rejects: Counter = Counter()
    for totals in done:
        rejects.update(totals.rejects_by_type)
    table = _table(path)
    table.add_row("complete", "yes" if complete else "no")
    table.add_row("shards", f"{len(done)} of {len(output.planned)} done")
    table.add_row("rows", str(sum(totals.written for totals in done)))
    table.add_row("rejects", _counts(sum(totals.rejected for totals in done), rejects))
    table.add_row("model", settings.get("model", "unknown"))
    table.add_row("fingerprint", fingerprint(settings))
    table.add_row("config", "\n".join(_changed(settings.get("config", {}))) or "the defaults")
    for name in ("precision", "device"):
        table.add_row(name, ", ".join(sorted({getattr(totals, name) for totals in done} - {""})))
    table.add_row("a rerun", "\n".join(_rerun(output, fingerprint(settings), complete, damaged)))
    rich.console.Console().print(table)
    return ExitCode.DONE


def _counts(total: int, by_type: Counter) -> str:
    parts = ", ".join(f"{count} {name}" for name, count in by_type.most_common())
    return f"{total}: {parts}" if parts else str(total)


def _changed(config: dict[str, Any]) -> list[str]:
    """Lists the settings that differ from the defaults."""
    defaults = Config().model_dump()
    return [
        f"{section}.{key}={value}"
        for section, values in config.items()
        for key, value in values.items()
        if value != defaults.get(section, {}).get(key)
    ]


def _damaged(output: Output) -> list[Shard]:
    """Returns the shards whose files are not as their marker says: on a disk by their footers, elsewhere by size."""
    sizes: dict[str, dict[str, int]] = {}
    if not store.is_local(output.layout.root):
        for shard_id, (folder, num_bytes) in output.layout.present():
            sizes.setdefault(shard_id, {})[folder] = num_bytes

    def is_damaged(shard: Shard) -> bool:
        totals = output.done[shard.shard_id]
        if store.is_local(output.layout.root):
            return wrong_file(output.layout, totals) is not None
        found = sizes.get(shard.shard_id, {})
        return bool(wrong_sizes(totals, found.get(IMAGES, 0), found.get(REJECTS, 0)))

    marked = [shard for shard in output.planned if shard.shard_id in output.done]
    wrong = thread_pool("read").map(is_damaged, marked)
    return [shard for shard, is_wrong in zip(marked, wrong, strict=True) if is_wrong]


def _rerun(output: Output, settings_fingerprint: str, complete: bool, damaged: list[Shard]) -> list[str]:
    """Says what the same command would do, judging by the output and the inputs in its plan."""
    marked = [shard for shard in output.planned if shard.shard_id in output.done]
    other = [s for s in marked if output.done[s.shard_id].fingerprint != settings_fingerprint]
    same = [s for s in marked if output.done[s.shard_id].fingerprint == settings_fingerprint]
    found = dict(zip(output.planned, thread_pool("read").map(_input_version, output.planned), strict=True))
    changed = [s for s in same if found[s] not in (None, output.done[s.shard_id].input_version)]
    work = {
        "would label {} shards that are not done yet": [
            shard for shard in output.planned if shard.shard_id not in output.done
        ],
        "would do {} shards again that were done with other settings": other,
        "would do {} shards again whose input has changed": changed,
        "would do {} shards again whose rows are not as their markers say": damaged,
        "would leave out {} shards whose input is gone": [shard for shard in output.planned if not found[shard]],
    }
    lines = [f"{what.format(len(shards))}: {_names(shards)}" for what, shards in work.items() if shards]
    if not lines:
        lines = ["has nothing to label" + ("" if complete else "; it would check the totals and finish")]
    return [*lines, "new files of the input are not looked for here"]


def _input_version(shard: Shard) -> str | None:
    """Returns the version of a shard's input as it is now; None where it is gone."""
    files = [store.metadata(path) for path in shard_paths(shard) if store.exists(path)]
    return input_version(files) if files else None


def _names(shards: list[Shard]) -> str:
    return ", ".join(shard.shard_id for shard in shards[:_NAMED]) + (", ..." if len(shards) > _NAMED else "")


def _table(title: str) -> rich.table.Table:
    return rich.table.Table("", "", title=title, show_header=False, title_justify="left")
