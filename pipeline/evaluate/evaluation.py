"""Evaluates the rows of a run by true boxes; no inference."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import rich.console

from pipeline.console import progress
from pipeline.evaluate.accuracy import Accuracies, ClassAccuracies, CurvePoint, Tuned, summarize, tune
from pipeline.evaluate.judge import Judge
from pipeline.evaluate.map_scores import MapScorer, score_all
from pipeline.evaluate.scoring import Normalization
from pipeline.evaluate.tally import Tally, TuningTally
from pipeline.evaluate.truth import read_truth
from pipeline.rows.output import open_output
from transforms.errors import UserError
from transforms.worker.threads import num_cores

CANDIDATES = ("minmax", "max", "pas", "ivr:25", "ivr:35", "ivr:45", "ivr:55", "ivr:65")  # what tuning tries
_ROWS_PER_WORKER = 2000  # fewer are scored before another process has started


@dataclass(frozen=True)
class EvaluateFlags:
    """What an evaluation is told.

    Attributes:
      predictions: the output folder of a run.
      truth: a CSV or COCO JSON file.
      output: the folder for the result as files; None: it is only printed.
      maps: the folder for maps as the reference scorer wants them; None: none are written.
      tune: tries CANDIDATES.
      normalization: of the maps, for the curve.
      step: between two thresholds of the curve.
    """

    predictions: str
    truth: str
    output: str | None = None
    maps: str | None = None
    tune: bool = False
    normalization: str = "minmax"
    step: float = 0.05

    def __post_init__(self) -> None:
        if not 0.001 <= self.step <= 0.5:
            raise UserError(f"--step must lie in [0.001, 0.5], got {self.step}")


@dataclass(frozen=True)
class Evaluation:
    """The result of `cambeam evaluate`.

    Attributes:
      about: what was evaluated, and how.
      counts: how rows and truth meet, see `matching.MatchCounts`.
      overall, best_threshold_frac, curve, classes: see `accuracy.Summary`.
      tuned: the best threshold for each normalization; empty if not asked for.
      best: the best normalization with its threshold; None if not asked for.
    """

    about: dict[str, Any]
    counts: dict[str, int]
    overall: Accuracies
    best_threshold_frac: float | None
    curve: list[CurvePoint]
    classes: list[ClassAccuracies]
    tuned: list[Tuned]
    best: Tuned | None


def evaluate_output(flags: EvaluateFlags, console: rich.console.Console | None = None) -> Evaluation:
    """Evaluates a run, shows its progress on a terminal, and writes maps if asked to.

    Raises:
      UserError: unusable true boxes, not an output, an unknown normalization, true boxes for none of the rows.
    """
    truth = read_truth(flags.truth)
    asked = Normalization.parse(flags.normalization)
    others = [Normalization.parse(text) for text in CANDIDATES] if flags.tune else []
    normalizations = [asked, *(normalization for normalization in others if normalization != asked)]
    scorer = MapScorer(np.arange(0, 1, flags.step), normalizations, flags.maps)
    if flags.maps:
        scorer.check_names(truth.names)
    output = open_output(flags.predictions)
    judge = Judge(output, truth)
    tally = Tally(np.unique(truth.box_label), len(scorer.thresholds), judge.about["config"]["cam"]["top_k"])
    tuning = TuningTally(len(normalizations), len(scorer.thresholds))
    workers = max(1, min(num_cores(), judge.counts.rows // _ROWS_PER_WORKER))
    with progress(console) as begin:
        advance = begin("evaluating", judge.counts.rows)
        for judged, met in score_all(judge.read(), scorer, workers):
            tally.add(judged, met[:, 0])
            tuning.add([truth.names[i] for i in judged.image[judged.with_map]], met)
            advance(judged.rows_read)
    summary = summarize(tally, scorer.thresholds, judge.class_names)
    tuned, best = tune(tuning, scorer.thresholds, normalizations) if flags.tune and summary.curve else ([], None)
    about = {
        "predictions": flags.predictions,
        "complete": output.complete,
        "truth": flags.truth,
        "model": judge.about.get("fingerprint"),
        "cam": judge.about["config"]["cam"],
        "boxes": judge.about["config"]["boxes"],
        "curve_normalization": str(asked),
        "step": flags.step,
    }
    return Evaluation(about, dataclasses.asdict(judge.counts), **summary._asdict(), tuned=tuned, best=best)
