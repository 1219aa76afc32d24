"""`cambeam evaluate`: how often class and place are right, from the rows of a run and true boxes; no inference."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import rich.console
import rich.progress

from pipeline.evaluate.evaluation import Evaluation, summarize, tune
from pipeline.evaluate.judged_rows import Predictions
from pipeline.evaluate.map_scores import MapScorer, score_all
from pipeline.evaluate.scoring import Normalization
from pipeline.evaluate.tables import notes, write_files, write_text
from pipeline.evaluate.tally import Tally, TuningTally
from pipeline.evaluate.truth import Truth, read_truth
from pipeline.exit_code import ExitCode
from pipeline.rows.output import open_output
from transforms.errors import UserError
from transforms.worker.threads import num_cores

CANDIDATES = ("minmax", "max", "pas", "ivr:25", "ivr:35", "ivr:45", "ivr:55", "ivr:65")  # what --tune tries
_MOST_ROWS_PRINTED = 101  # a curve at steps of 0.01, but not a thousand classes
_ROWS_PER_WORKER = 2000  # fewer are done before a worker process has started


@dataclasses.dataclass(frozen=True)
class EvaluateFlags:
    """What an evaluation is told.

    Attributes:
      predictions: the output folder of a run.
      truth: a CSV or COCO JSON file.
      output: the folder for the result as files; None: it is only printed.
      maps: the folder for maps as the reference scorer wants them; None: none are written.
      tune: tries CANDIDATES.
      normalization: of the maps, for the curve.
      step: between the curve's thresholds.
    """

    predictions: str
    truth: str
    output: str | None = None
    maps: str | None = None
    tune: bool = False
    normalization: str = "minmax"
    step: float = 0.05

    def __post_init__(self):
        if not 0.001 <= self.step <= 0.5:
            raise UserError(f"--step must lie in [0.001, 0.5], got {self.step}")


def evaluate(flags: EvaluateFlags, console: rich.console.Console) -> ExitCode:
    """Evaluates a run, prints the result, and writes it as files where asked.

    Raises:
      UserError: TruthError, UserError, an unknown normalisation: each one line.
    """
    truth = read_truth(flags.truth)
    if flags.maps:
        _check_names(truth)
    asked = Normalization.parse(flags.normalization)
    candidates = [Normalization.parse(text) for text in CANDIDATES] if flags.tune else []
    normalizations = [asked, *(candidate for candidate in candidates if candidate != asked)]
    thresholds = np.arange(0, 1, flags.step)
    output = open_output(flags.predictions)
    predictions = Predictions(output, truth)
    scorer = MapScorer(thresholds, normalizations, flags.maps)
    tally = Tally(np.unique(truth.box_label), len(thresholds), predictions.about["config"]["cam"]["top_k"])
    tuning = TuningTally(len(normalizations), len(thresholds))
    rows = predictions.counts.rows
    workers = max(1, min(num_cores(), rows // _ROWS_PER_WORKER))
    with _progress(console, rows) as advance:
        for judged, met in score_all(predictions.read(), scorer, workers):
            tally.add(judged, met[:, 0])
            tuning.add([truth.names[i] for i in judged.image[judged.with_map]], met)
            advance(judged.rows_read)
    result = _result(flags, predictions, tally, tuning, scorer)
    if not output.complete:
        note = f"{flags.predictions} is not complete: this is of the shards that are done"
        console.print(note, highlight=False, soft_wrap=True)
    for note in notes(result):
        console.print(note, highlight=False, soft_wrap=True)
    write_text(result, rich.console.Console(), _MOST_ROWS_PRINTED)
    if flags.output:
        write_files(result, flags.output)
        console.print(f"written to {flags.output}", highlight=False, soft_wrap=True)
    return ExitCode.DONE


def _check_names(truth: Truth) -> None:
    for name in truth.names:
        if os.path.isabs(name) or ".." in name.split("/"):
            raise UserError(f"--maps: {name!r} would lie outside the folder")


def _result(
    flags: EvaluateFlags, predictions: Predictions, tally: Tally, tuning: TuningTally, scorer: MapScorer
) -> Evaluation:
    config = predictions.about["config"]
    about = {
        "predictions": flags.predictions,
        "truth": flags.truth,
        "model": predictions.about.get("fingerprint"),
        "cam": config["cam"],
        "boxes": config["boxes"],
        "curve_normalization": str(scorer.normalizations[0]),
        "step": flags.step,
    }
    summary = summarize(tally, scorer.thresholds, predictions.class_names)
    tuned, best = tune(tuning, scorer.thresholds, scorer.normalizations) if flags.tune and summary.curve else ([], None)
    counts = dataclasses.asdict(predictions.counts)
    return Evaluation(about=about, counts=counts, **summary._asdict(), tuned=tuned, best=best)


@contextmanager
def _progress(console: rich.console.Console, rows: int) -> Iterator:
    """Shows on a terminal how many rows are done; elsewhere nothing."""
    columns = (
        *rich.progress.Progress.get_default_columns(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("images"),
    )
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("evaluating", total=rows)
        yield lambda done: progress.advance(task, done)
