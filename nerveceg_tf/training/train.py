"""The training of both stages, from a folder of frames to a run."""

import time
import warnings
from collections.abc import Collection
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import keras

from nerveceg_tf.data.datasets import FrameSet, read_frames
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.plan import apply_plan, read_plan
from nerveceg_tf.data.splits import Split, split_by_subject
from nerveceg_tf.errors import FrameError, NervecegWarning, RunError, SubjectError
from nerveceg_tf.files import check_free, check_writable
from nerveceg_tf.models import prune
from nerveceg_tf.run import PARTS, Run, Thresholds
from nerveceg_tf.training.build import build
from nerveceg_tf.training.fit import fit
from nerveceg_tf.training.recipe import Recipe
from nerveceg_tf.training.split_file import (
    describe_split,
    equal_frames,
    recall_split,
)


def train(
    data: Path | str,
    out: Path | str,
    recipe: Recipe,
    only: str | None = None,
    hold_out: Collection[str] = (),
    skip_bad: bool = False,
    force: bool = False,
    plan: Path | None = None,
    split: Path | None = None,
    cache: Path | None = None,
) -> tuple[Run, FrameSet, list[FrameError]]:
    """Trains a gate, a segmenter or both, and leaves a run.

    Nothing is written before every frame was read and both models were built. The epoch that is
    best on validation subjects is kept.

    Args:
        data: a folder that `find_frames` understands.
        out: the run's folder.
        recipe: how to train.
        only: `"gate"` or `"segmenter"`; both by default.
        hold_out: subjects to leave out of training and validation alike.
        skip_bad: leave bad frames out rather than stop.
        force: replace a run that is at `out`.
        plan: how to mend the frames, as `nerveceg audit --fix` wrote it.
        split: the `split.json` of an earlier run, to divide the frames as it did.
        cache: folder to keep decoded frames in, for the next training.

    Returns:
        The run, the frames that were read, and the errors of those that were left out.

    Raises:
        NervecegError: frames, subjects, recipe or `out` do not allow it.
    """
    started = time.time()
    out = Path(out)
    check_free(out, "run.json", force)
    if cache:
        check_writable(cache)
        if cache.is_file():
            raise RunError(f"--cache {cache}: is a file; name a folder")
    keras.utils.set_random_seed(recipe.seed)
    models, recipe = build(recipe, only)
    sizes = {stage: model.input_shape[1:3] for stage, model in models.items()}
    found, dropped, together = apply_plan(find_frames(data), read_plan(plan) if plan else [])
    frames, bad = read_frames(found, sizes.values(), skip_bad, cache)
    if split:
        parts = recall_split(split, frames)
        _warn_if_apart(parts, _positions(together, frames), frames)
    else:
        parts = split_by_subject(
            frames.frames,
            frames.present,
            recipe.validation,
            hold_out,
            recipe.seed,
            [*_positions(together, frames), *equal_frames(frames)],
        )
    _check_labels(frames, parts, only, Path(data))

    description = {
        "recipe": _used(recipe, models),
        "data": {"folder": str(data), "frames": len(frames), "fingerprint": _fingerprint(frames)},
        "plan": str(plan) if plan else None,
        "bad_frames": [str(error) for error in bad],
    }
    run = Run.create(out, description, force)
    run.write("split.json", describe_split(parts, frames, dropped))
    train_set, validation_set = frames.take(parts.train), frames.take(parts.validation)
    for stage, model in models.items():
        fit(run, stage, model, train_set, validation_set, recipe)
        run.save(stage, prune(model, recipe.prune) if recipe.prune and stage != "gate" else model)
    run.thresholds = Thresholds()
    run.describe(seconds=round(time.time() - started, 1))
    return run, frames, bad


def _positions(names: Collection[tuple[str, str]], frames: FrameSet) -> list[tuple[int, int]]:
    at = {frame.name: i for i, frame in enumerate(frames.frames)}
    return [(at[a], at[b]) for a, b in names if a in at and b in at]


def _warn_if_apart(split: Split, pairs: Collection[tuple[int, int]], frames: FrameSet) -> None:
    side = {i: part for part in PARTS for i in getattr(split, part).tolist()}
    apart = [(a, b) for a, b in pairs if side[a] != side[b]]
    if apart:
        names = " and ".join(frames.frames[i].name for i in apart[0])
        warnings.warn(
            f"the split puts {names}, which show one scan, on two sides ({len(apart)} such pairs in"
            " the plan); scores may be too good",
            NervecegWarning,
            stacklevel=3,
        )


def _check_labels(frames: FrameSet, split: Split, only: str | None, data: Path) -> None:
    present = frames.present[split.train]
    if only != "gate" and not present.any():
        raise SubjectError(f"{data}: no training frame holds a nerve; there is nothing to segment")
    if only != "segmenter" and present.all():
        raise SubjectError(
            f"{data}: every training frame holds a nerve, so no gate can be trained; pass --only"
            " segmenter (and no --gate), or add frames without a nerve"
        )
    if only == "gate" and not present.any():
        raise SubjectError(f"{data}: no training frame holds a nerve, so no gate can be trained")


def _used(recipe: Recipe, models: dict) -> dict:
    """The recipe without what concerns a stage that was not trained by itself."""
    unused = {"gate": ("gate", "gate_size", "gate_weights", "gate_learning_rate")}
    unused["segmenter"] = ("segmenter", "segmenter_size", "segmenter_learning_rate", "width")
    unused["segmenter"] += ("encoder", "encoder_weights", "deep_supervision", "prune", "segment_on")
    dropped = {name for stage in unused.keys() - models.keys() for name in unused[stage]}
    if "shared" in models:
        dropped = set(unused["gate"][1:])
    return {name: value for name, value in asdict(recipe).items() if name not in dropped}


def _fingerprint(frames: FrameSet) -> str:
    return sha256("".join(sorted(frames.digests)).encode()).hexdigest()[:20]
