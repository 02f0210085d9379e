"""Exports a run: writes it, holds it against the run, and only then gives it its name."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nerveceg_tf.data.frame import Frame, map_frames
from nerveceg_tf.errors import ModelError, NervecegWarning
from nerveceg_tf.evaluation.frame_selection import frames_by_part, no_frames
from nerveceg_tf.export.answer import checked, fitted
from nerveceg_tf.export.convert import write_onnx, write_tflite
from nerveceg_tf.export.form import Form, Format, Precision
from nerveceg_tf.export.limits import limits_of
from nerveceg_tf.export.metadata import append_facts, keep_in_onnx
from nerveceg_tf.export.saved_model import MARKER, write_extra, write_saved_model
from nerveceg_tf.export.tflite import GATE
from nerveceg_tf.export.verify import Verified, Verifier, check_onnx, open_export
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.runs.run import Run
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import check_new_file, replacing, replacing_folder
from nerveceg_tf.utils.progress import console, track

MOST_CHECKED, MOST_MEASURED = 100, 100
"""Frames on which an export is checked, and on which `int8` measures activations."""


def export(
    run: Run,
    out: Path,
    form: Form,
    frames: Sequence[Frame],
    force: bool = False,
    **most: float,
) -> tuple[Path, Verified, Verified]:
    """Writes a run in another form, if that still says what the run says.

    It is checked on the run's validation frames, or if none of them are given on such as the run
    never saw. `int8` measures activations on training frames.

    Args:
        run: a run with a segmenter.
        out: file to write; of a split export its folder, of a SavedModel the model's, which gets a
            folder for the version.
        form: what to write.
        frames: labelled frames, as from `find_frames`, of the data that the run was trained on.
        force: replace what is there.
        most: what it may lose, in place of the values of `limits.Limits`, such as `gate_auc=.02`.

    Returns:
        What was written, and what was measured of the run and of it.

    Raises:
        ModelError: the run cannot be exported so, or the export loses more than it may; then
            nothing is written.
        RunError: `out` is in the way, or none of the frames can serve to check it.
    """
    if "segmenter" not in run.stages:
        raise ModelError(f"{run.path}: has no segmenter; combine it with a run that has")
    _check_name(out, form)
    if form.format == Format.onnx:
        check_onnx()
    if run.thresholds.cleaning:
        warnings.warn(
            f"{run.path}: mends its masks by {', '.join(run.thresholds.cleaning)}, which no export"
            " does",
            NervecegWarning,
            stacklevel=2,
        )
    with _new(out, form, force) as temporary:
        model = run.model()
        by_part = frames_by_part(run, frames)
        part = next((p for p in ("validation", "unseen") if by_part[p]), "validation")
        if not by_part[part]:
            raise no_frames(run, part, by_part)
        checked_on = _spread(by_part[part], MOST_CHECKED)
        size = form.frame_size or _usual_size(checked_on)
        measured = []
        if form.precision == Precision.int8:
            if not by_part["train"]:
                raise no_frames(run, "train", by_part)
            measured = _to_measure(model, by_part["train"], size, form)
        facts = _facts(run, model, form, size)
        console.print(f"converting to {form.format}, {form.precision} …")
        write_facts = _write(model, run, temporary, form, size, measured)
        write_facts(facts)
        verifier = Verifier(run, checked_on)
        ask, _ = open_export(temporary)
        limits = replace(limits_of(form.precision), **most)
        found = verifier.verify(ask, temporary, limits, str(out))
        if found.broken:
            raise ModelError(
                f"--out {out}: not written, for on {found.frames} {part} frames"
                f" {'; '.join(found.broken)}; {_mend(form)}"
            )
        of_both = {"run": asdict(verifier.run), "export": asdict(found)}
        write_facts({**facts, "verified": {"part": part, **of_both}})
    written = out / str(form.version) if form.format == Format.savedmodel else out
    return written, verifier.run, found


def _check_name(out: Path, form: Form) -> None:
    suffix = {Format.tflite: ".tflite", Format.onnx: ".onnx"}.get(form.format)
    is_folder = form.split or form.format == Format.savedmodel
    if suffix and not is_folder and out.suffix != suffix:
        raise ModelError(f"--out {out}: name a file that ends in {suffix}")
    if is_folder and out.suffix in (".tflite", ".onnx"):
        raise ModelError(f"--out {out}: such an export is a folder; name one")


def _new(out: Path, form: Form, force: bool) -> AbstractContextManager[Path]:
    if form.format == Format.savedmodel:
        return replacing_folder(out / str(form.version), MARKER, force)
    if form.split:
        return replacing_folder(out, GATE, force)
    check_new_file(out, force)
    return replacing(out)


def _write(
    model: NerveCeg,
    run: Run,
    path: Path,
    form: Form,
    size: Size,
    measured: Sequence[np.ndarray],
) -> Callable[[dict[str, Any]], None]:
    """Writes the model, and gives the function that writes its facts, again and again."""
    if form.format == Format.savedmodel:
        write_saved_model(model, run.thresholds, path)
        return lambda facts: write_extra(path, facts, form.name)
    if form.format == Format.tflite:
        write_tflite(model, path, size, form.precision, measured, form.split)
        holder = path / GATE if form.split else path
        return lambda facts: append_facts(holder, facts)
    write_onnx(model, path, size)
    return lambda facts: keep_in_onnx(path, facts)


def _facts(run: Run, model: NerveCeg, form: Form, size: Size) -> dict[str, Any]:
    thresholds = {**asdict(run.thresholds), "cleaning": ()}
    one = f"float32 (1, {size[0]}, {size[1]}, 1)"
    any_ = "float32 (batch, height, width, 1)"
    shape = any_ if form.format == Format.savedmodel else one
    data = run.description.get("data", {})
    folder = data.get("folder")
    return {
        "model": "nerveceg_tf",
        "version": run.description.get("versions", {}).get("nerveceg_tf"),
        "classes": ["no nerve", "nerve"],
        "inputs": {"image": f"{shape}, gray values 0..255"},
        "outputs": {
            "presence": "float32 (batch, 1), probability that the frame holds a nerve",
            "mask": f"{shape}, nerve probability per pixel, 0 where presence < threshold",
        },
        "format": form.format,
        "precision": form.precision,
        "split": form.split,
        "frame_size": list(size),
        "gate_size": list(model.gate_size),
        "segmenter_size": list(model.segmenter_size),
        "recipe": run.description.get("recipe"),
        "thresholds": thresholds,
        "trained_on": {**data, "folder": folder and Path(folder).name} if data else None,
        "licence": form.licence,
        "note": "This is not a medical device.",
    }


def _usual_size(frames: Sequence[Frame]) -> Size:
    shapes = list(map_frames(lambda _, read: read().shape, frames))
    return max(set(shapes), key=shapes.count)


def _to_measure(
    model: NerveCeg, frames: Sequence[Frame], size: Size, form: Form
) -> list[np.ndarray]:
    """Training frames as the model takes them, half of them such as pass the gate if there are."""
    detect = tf.function(model.detect, reduce_retracing=True)
    candidates = _spread(frames, 4 * MOST_MEASURED)
    groups: dict[bool, list[np.ndarray]] = {True: [], False: []}
    loaded = map_frames(lambda _, read: fitted(checked(read()), size), candidates)
    for image in track(loaded, "choosing frames to measure", len(candidates)):
        groups[bool(detect(tf.constant(image))[0, 0] >= model.threshold)].append(image)
    if not groups[True] and not form.split:
        raise ModelError(
            "--precision int8: the gate lets no training frame pass, so nothing can be measured of"
            " the segmenter; train the gate longer, tune the run, or pass --split"
        )
    half = MOST_MEASURED // 2
    few = min(groups.values(), key=len)
    return [image for g in groups.values() for image in g[: max(half, MOST_MEASURED - len(few))]]


def _spread(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most so many frames, evenly from all of them."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(most, len(frames)), dtype=int)]


def _mend(form: Form) -> str:
    if form.frame_size:
        return "take a --frame-size nearer to that of the data, or leave it out"
    if form.precision == Precision.float32:
        return "this is a fault of the conversion, please report it"
    if form.precision == Precision.float16:
        return "take --precision float32"
    return (
        "take --precision float16, or allow more by --most-dice-loss and --most-auc-loss (what was"
        " made for integers, such as the gate and the encoder lite0, loses least)"
    )
