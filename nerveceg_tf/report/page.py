"""Everything that a report shows, gathered in one pass over the frames and written as one file."""

import base64
import gzip
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from nerveceg_tf.choices import MOST_PICTURES
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import RunError
from nerveceg_tf.evaluation.evaluate import FrameScorer, describe
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.frame_selection import REASONS, Part, select_part
from nerveceg_tf.evaluation.pixel_counts import FrameCounts, count_pixels, labelled
from nerveceg_tf.evaluation.postprocessing_search import keeping
from nerveceg_tf.explain.explainer import Explainer
from nerveceg_tf.explain.methods import METHODS
from nerveceg_tf.inference.predict import predict_ungated
from nerveceg_tf.report.charts import gate_charts, surface_chart
from nerveceg_tf.report.pictures import choose, pictures
from nerveceg_tf.runs.ensemble import RunEnsemble
from nerveceg_tf.runs.run import Run
from nerveceg_tf.utils.files import replacing


def write_report(
    run: Run | RunEnsemble,
    frames: Sequence[Frame],
    out: Path,
    part: Part | None = None,
    most: int = MOST_PICTURES,
    explain: str | None = None,
) -> dict:
    """Scores a run as `evaluate` does, and writes a page that needs no network.

    In the page the thresholds can be moved: masks and scores follow, from the probabilities and
    pixel counts that it carries.

    Args:
        run: a run with a segmenter, a gate, or both.
        frames: labelled frames, as from `find_frames`.
        out: the file to write.
        part: which of the frames, as in `evaluate`.
        most: how many frames get a picture. All are scored.
        explain: a name in `nerveceg_tf.explain.METHODS`, whose maps can be laid over the frames.

    Returns:
        The scores that the page begins with.

    Raises:
        RunError: no frame belongs to `part`, or several runs shall be explained.
        ModelError: the method is unknown, or explains a stage that the run has not.
        FrameError: a frame or mask is bad.
    """
    explainer = _explainer(run, explain) if explain else None
    frames, part, left_out = select_part(run, frames, part)
    scorer, kept = FrameScorer(run), []
    answers = labelled(predict_ungated(run, frames))
    counts = count_pixels(keeping(scorer.watching(answers), kept))
    scores = scorer.scores
    summary = describe(scores, run.thresholds, part, left_out)
    shown = choose(scores, most)
    drawn = pictures([frames[i] for i in shown], [kept[i] for i in shown], explainer)
    page = _environment().get_template("page.html")
    with replacing(out) as temporary:
        temporary.write_text(
            page.render(
                run=_name(run),
                scores=summary,
                reasons=REASONS,
                stages=scores.stages,
                charts=gate_charts(scores),
                surface=surface_chart(run) if isinstance(run, Run) else None,
                subjects=sorted(
                    summary["by_subject"],
                    key=lambda s: (s["kaggle_dice"] is None, s["kaggle_dice"]),
                ),
                pictures=len(shown),
                explained=METHODS[explain].title if explain else None,
                data=_data(run, scores, counts, dict(zip(shown.tolist(), drawn, strict=True))),
                style=_text("page.css"),
                script=_text("page.js"),
            ),
            "utf-8",
        )
    return summary


def _explainer(run: Run | RunEnsemble, method: str) -> Explainer:
    if not isinstance(run, Run):
        raise RunError(f"--explain {method}: explains one run, without --tta; name one")
    return Explainer.of(run, [method])


def _name(run: Run | RunEnsemble) -> str:
    if isinstance(run, Run):
        return str(run.path)
    names = " + ".join(str(member.path) for member in run.runs)
    return f"{names}, each frame seen four times" if run.augmented else names


def _data(
    run: Run | RunEnsemble,
    scores: FrameScores,
    counts: FrameCounts,
    drawn: dict[int, dict[str, str]],
) -> dict:
    """What the page's script computes with."""
    # Pixels at each level, and not at or above it: mostly zeros, which pack well.
    cumulated = np.stack([counts.drawn, counts.overlap], axis=1)
    at_level = -np.diff(cumulated, axis=2, append=0)
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
                "truth": int(counts.truth[i]),
                "pixels": int(counts.pixels[i]),
                **drawn.get(i, {}),
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
