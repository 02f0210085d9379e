"""Scores a run in one pass over the frames, and writes the report as one HTML file."""

import base64
import gzip
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from nerveceg_tf.choices import MAX_PICTURES, Subset
from nerveceg_tf.data.folders.rows import Report
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import RunError
from nerveceg_tf.evaluation.evaluate import FrameScorer, summary_dict
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.frame_selection import REASONS, select_subset
from nerveceg_tf.evaluation.pixel_counts import FrameCounts, count_pixels, with_ground_truth
from nerveceg_tf.evaluation.postprocessing_search import CompressedPrediction, collect_compressed
from nerveceg_tf.explain.explainer import Explainer
from nerveceg_tf.explain.methods import METHODS
from nerveceg_tf.inference.predict import FramePrediction, predict_for_scores
from nerveceg_tf.report.charts import gate_charts, threshold_chart
from nerveceg_tf.report.pictures import choose, pictures
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.utils.files import replacing, write_text


def write_report(
    run: TrainedRun,
    frames: Sequence[Frame],
    out: Path | str,
    subset: Subset | None = None,
    max_frames: int = MAX_PICTURES,
    explain: str | None = None,
    report: Report | None = None,
) -> dict:
    """Scores a run as `evaluate` does, and writes an HTML page that works without a network.

    The reader can change the thresholds in the page. Masks and scores are then computed again from
    the probabilities and pixel counts in the page.

    Args:
        run: a run, an ensemble of runs or an export, with a segmenter, a gate, or both.
        frames: labelled frames, as for `evaluate`.
        out: the file to write.
        subset: which frames to score, as in `evaluate`.
        max_frames: most frames with a picture, 0 or more. All frames are scored.
        explain: a name in `nerveceg_tf.explain.METHODS`. The page then also shows its maps.
        report: as for `evaluate`.

    Returns:
        The scores, as `evaluate` returns them.

    Raises:
        RunError: no frame belongs to `subset`, or several runs would have to be explained.
        ModelError: the method is unknown, or explains a stage that the run does not have.
        FrameError: a frame or mask is bad.
    """
    out = Path(out)
    explainer = _explainer(run, explain) if explain else None
    frames, subset, excluded = select_subset(run, frames, subset, report)
    scorer = FrameScorer(run)
    compressed: list[CompressedPrediction] = []
    scored: list[Frame] = []
    predictions = with_ground_truth(_noted(predict_for_scores(run, frames, report), scored))
    mask = run.thresholds.mask
    labelled = collect_compressed(scorer.score_stream(predictions), compressed, mask)
    counts = count_pixels(labelled, mask)
    scores = scorer.scores
    summary = summary_dict(scores, run.thresholds, subset, excluded)
    shown = choose(scores, max_frames)
    of_shown = pictures([scored[i] for i in shown], [compressed[i] for i in shown], explainer)
    by_position = dict(zip(shown.tolist(), of_shown, strict=True))
    page = _environment().get_template("page.html")
    with replacing(out) as temporary:
        write_text(
            temporary,
            page.render(
                run=run.name,
                scores=summary,
                reasons=REASONS,
                stages=scores.stages,
                charts=gate_charts(scores),
                search=threshold_chart(run),
                subjects=sorted(
                    summary["by_subject"],
                    key=lambda s: (s["kaggle_dice"] is None, s["kaggle_dice"]),
                ),
                pictures=len(shown),
                lowest_gate=0 if run.can_ungate else run.thresholds.presence,
                explained=METHODS[explain].title if explain else None,
                data=_data(run, scores, counts, by_position),
                style=_text("page.css"),
                script=_text("page.js"),
            ),
        )
    return summary


def _noted(
    predictions: Iterable[FramePrediction], scored: list[Frame]
) -> Iterator[FramePrediction]:
    """Passes predictions on, and appends their frames to a list."""
    for prediction in predictions:
        scored.append(prediction.frame)
        yield prediction


def _explainer(run: TrainedRun, method: str) -> Explainer:
    if run.augmented or len(run.members) > 1:
        raise RunError(f"explain={method}: explains one run, without augmented=True; name one")
    if not run.members:
        raise RunError(
            f"explain={method}: {run.path} is an export, which has no gradients; name the RUN that"
            " it was made from"
        )
    return Explainer.from_run(run.members[0], [method])


def _data(
    run: TrainedRun,
    scores: FrameScores,
    counts: FrameCounts,
    pictures_by_position: dict[int, dict[str, str]],
) -> dict:
    """The data of the page's script."""
    # Pixels at each level instead of at or above it: mostly zeros, which compress well.
    cumulated = np.stack([counts.predicted, counts.overlap], axis=1)
    at_level = -np.diff(cumulated, axis=2, append=0)
    # Without a segmenter only presence counts, which a frame without a mask has too.
    truth = counts.truth if "segmenter" in scores.stages else scores.present
    packed = gzip.compress(at_level.astype("<u4").tobytes(), mtime=0)
    return {
        "stages": scores.stages,
        "thresholds": vars(run.thresholds),
        "counts": base64.b64encode(packed).decode(),
        "frames": [
            {
                "name": str(scores.name[i]),
                "subject": str(scores.subject[i]),
                "presence": float(counts.presence[i]),
                "truth": int(truth[i]),
                "pixels": int(counts.pixels[i]),
                **pictures_by_position.get(i, {}),
            }
            for i in range(len(scores))
        ],
    }


def _text(name: str) -> Markup:
    return Markup(files("nerveceg_tf.report").joinpath(name).read_text("utf-8"))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nerveceg_tf.report", ""), autoescape=True, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters["number"] = lambda x, digits=3: "-" if x is None else f"{x:.{digits}f}"
    return environment
