"""The earlier runs and files that a training starts from: their weights, and the frames that they
were trained on."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.near_duplicates import NEAR_DUPLICATE, nearest
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import ModelError, NervecegWarning, RunError
from nerveceg_tf.models import NerveCeg
from nerveceg_tf.models.weights import copy_weights, load_weights_file
from nerveceg_tf.runs.run import Run, load_model, run_of_file, stage_model
from nerveceg_tf.training.recipe import Recipe

_PUBLISHED = ("auto", "imagenet", "noisy-student", "none")
_OF_KERAS_APPLICATIONS = "_notop.h5"


class Source(NamedTuple):
    """What a stage starts from.

    Attributes:
        stage: `"gate"`, `"segmenter"` or `"shared"`.
        option: the option that names it, with its value, for messages.
        file: the file of the weights.
        run: the run that the file belongs to; `None` if its training frames are not known.
    """

    stage: str
    option: str
    file: Path
    run: Run | None

    def as_json(self) -> dict[str, Any]:
        """The record of it in `run.json`."""
        return {"file": str(self.file), "sha256": _sha256(self.file), "run": self._run_path}

    @property
    def _run_path(self) -> str | None:
        return str(self.run.path) if self.run else None


def find_sources(recipe: Recipe, stages: Iterable[str]) -> list[Source]:
    """Finds what the stages of a recipe start from, other than published weights.

    Args:
        recipe: the recipe.
        stages: the stages that are trained.

    Raises:
        ModelError: there is no such file or folder.
        RunError: a folder is not that of a finished run with the stage.
    """
    sources = []
    for stage in stages:
        part = recipe.gate if stage == "gate" else recipe.segmenter
        if is_earlier(part.weights):
            sources.append(_source(stage, part.weights))
    return sources


def is_earlier(weights: str) -> bool:
    """Whether `weights` of a stage name a run or a file of one, and not published weights."""
    return weights not in _PUBLISHED and not weights.endswith(_OF_KERAS_APPLICATIONS)


def _source(stage: str, weights: str) -> Source:
    name = "gate" if stage == "gate" else "segmenter"
    option, path = f"{name}_weights={weights}", Path(weights)
    if path.is_dir():
        run = Run(path)
        run.check_has(name)
        whole = run.has("shared") and (stage != "gate" or not run.has("gate"))
        return Source(stage, option, path / f"{'shared' if whole else name}.keras", run)
    if not path.is_file():
        raise ModelError(
            f"{name} weights {path}: file not found; pass {name}_weights=RUN, a run folder, or a"
            " .keras or .weights.h5 file"
        )
    return Source(stage, option, path, run_of_file(path))


def load_source(model: keras.Model, source: Source) -> None:
    """Puts the weights of a source into a model of the same architecture, of any input size.

    Args:
        model: the model of the source's stage. A `SharedGate` may start from a segmenter alone; the
            head of its gate then keeps its random weights.
        source: what it starts from.

    Raises:
        ModelError: the source is of another architecture, or has other shapes.
        RunError: its file cannot be loaded.
    """
    if source.file.suffix != ".keras":
        load_weights_file(model, source.file)
        return
    earlier = load_model(source.file)
    if isinstance(earlier, NerveCeg):
        # Without a segmenter, its gate is a `SharedGate`.
        earlier = (earlier.segmenter if source.stage != "gate" else None) or earlier.gate
    if source.stage == "gate":
        earlier = stage_model(earlier, "gate")
    heads = ("presence",) if source.stage == "shared" else ()
    try:
        copy_weights(model, earlier, source.option, optional=heads)
    except ModelError as error:
        fitting = "gate=NAME" if source.stage == "gate" else "segmenter=NAME and base_filters=N"
        raise ModelError(f"{error}; pass the {fitting} that it was trained with") from None


def earlier_frames(sources: Sequence[Source]) -> dict[str, list[dict[str, str]]]:
    """The frames that the sources were trained and validated on, as entries of `split.json`."""
    return seen_frames([source.run for source in sources if source.run])


def seen_frames(runs: Iterable[Run]) -> dict[str, list[dict[str, str]]]:
    """The frames that runs were trained and validated on, as entries of `split.json`."""
    trained: set[str] = set()
    validated: set[str] = set()
    for run in runs:
        trained |= run.trained_digests
        validated |= {d for d, subset in run.subsets.items() if subset == "validation"}
    sides = {"train": trained, "validation": validated - trained}
    return {subset: [{"digest": d} for d in sorted(side)] for subset, side in sides.items()}


def earlier_fingerprints(sources: Sequence[Source]) -> dict[str, np.ndarray]:
    """The fingerprints of these frames, by their digests."""
    runs = [source.run for source in sources if source.run]
    return {digest: values for run in runs for digest, values in run.fingerprints.items()}


def trained_on(run: Run, frames: FrameSet, or_validated: bool = False) -> np.ndarray:
    """Which frames a run, or a teacher of it, was trained on, or on others of their subjects or
    cines.

    Args:
        run: the run.
        frames: the frames.
        or_validated: also those that its epochs or thresholds were chosen on.

    Returns:
        bool `(n,)`. A frame is recognised by its pixels or its fingerprint; a subject or a cine by
        its frames.
    """
    subsets = ("validation", "train") if or_validated else ("train",)
    used = run.trained_digests | {d for d, subset in run.subsets.items() if subset in subsets}
    seen = np.array([digest in used for digest in frames.digests])
    known = [values for digest, values in run.fingerprints.items() if digest in used]
    if known:
        own = np.stack([frame.read_results.fingerprint for frame in frames.frames])
        seen |= nearest(own, np.stack(known)) <= NEAR_DUPLICATE
    groups = {frames.frames[i].kept_together for i in np.flatnonzero(seen)} - {None}
    return seen | np.array([frame.kept_together in groups for frame in frames.frames])


def is_partly_unknown(description: Mapping[str, Any]) -> bool:
    """Whether a stage of a run, by its `run.json`, started from, or is, a file that does not tell
    what it was trained on."""
    started = description.get("started_from", {}).values()
    combined = description.get("combined_from", {}).values()
    return any(source["run"] is None for source in started) or any(
        run_of_file(Path(source["from"])) is None
        if source.keys() == {"from"}
        else is_partly_unknown(source)
        for source in combined
    )


def warn_if_trained_on(sources: Sequence[Source], frames: FrameSet, split: Split) -> None:
    """Warns of frames for validation or to hold out that a source was trained on.

    Args:
        sources: what the stages start from.
        frames: the frames.
        split: their split.
    """
    for source in sources:
        if source.run is None:
            _warn(
                f"{source.option}: the file does not tell which frames it was trained on; scores on"
                " those are too good"
            )
            continue
        seen = trained_on(source.run, frames)
        counts = [
            f"{seen[positions].sum()} of the {len(positions)} {name} frames"
            for name, positions in (("validation", split.validation), ("held-out", split.held_out))
            if seen[positions].any()
        ]
        if counts:
            _warn(
                f"{source.option}: was trained on {' and '.join(counts)}, or on their subjects, so"
                " they do not count as unseen, and the best epoch may be chosen too well; split as"
                f' it did (split="{source.run.path / "split.json"}")'
            )


def check_unseen(sources: Sequence[Source], frames: FrameSet) -> None:
    """Checks that no source was trained on any of the frames, for a cross-validation.

    Args:
        sources: what the stages start from.
        frames: the frames of all folds.

    Raises:
        RunError: a source was trained on some.
    """
    for source in sources:
        if source.run and (seen := trained_on(source.run, frames)).any():
            raise RunError(
                f"{source.option}: was trained on {seen.sum()} of the {len(frames)} frames or on"
                " their subjects, so their folds would be scored too well; leave it out, or"
                " cross-validate on other frames"
            )


def check_unchanged(started_from: Mapping[str, Mapping[str, Any]], stages: Iterable[str]) -> None:
    """Checks that stages that have not begun yet would start from the same weights as recorded.

    Args:
        started_from: as `run.json` records it.
        stages: the stages that have not begun.

    Raises:
        RunError: a file has changed, or is not found.
    """
    for stage in stages:
        if stage in started_from:
            file = Path(started_from[stage]["file"])
            if not file.is_file() or _sha256(file) != started_from[stage]["sha256"]:
                raise RunError(
                    f"{file}: the {stage} was to start from it, and it has changed since; put it"
                    " back, or train a new run"
                )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _warn(text: str) -> None:
    warnings.warn(text, NervecegWarning, stacklevel=4)
