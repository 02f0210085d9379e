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
from nerveceg_tf.evaluation.frame_selection import frames_by_subset, no_frames
from nerveceg_tf.export.config import ExportConfig, ExportFormat, Precision
from nerveceg_tf.export.convert import write_onnx, write_tflite
from nerveceg_tf.export.limits import default_limits
from nerveceg_tf.export.metadata import append_metadata, write_onnx_metadata
from nerveceg_tf.export.prediction import check_frame, resize_to_input
from nerveceg_tf.export.saved_model import MARKER, write_assets_extra, write_saved_model
from nerveceg_tf.export.tflite import GATE
from nerveceg_tf.export.verify import ExportComparison, ExportReport, check_onnx, open_export
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.runs.run import Run
from nerveceg_tf.size import Size
from nerveceg_tf.utils.files import check_new_file, replacing, replacing_folder
from nerveceg_tf.utils.progress import console, track

MAX_CHECKED, MAX_MEASURED = 100, 100
"""Frames on which an export is check_frame, and on which `int8` measures activations."""


def export(
    run: Run,
    out: Path,
    config: ExportConfig,
    frames: Sequence[Frame],
    force: bool = False,
    **most: float,
) -> tuple[Path, ExportReport, ExportReport]:
    """Writes a run in another config, if that still says what the run says.

    It is check_frame on the run's validation frames, or if none of them are given on such as the run
    never saw. `int8` measures activations on training frames.

    Args:
        run: a run with a segmenter.
        out: file to write; of a split export its folder, of a SavedModel the model's, which gets a
            folder for the version.
        config: what to write.
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
    _check_name(out, config)
    if config.format == ExportFormat.onnx:
        check_onnx()
    if run.thresholds.postprocessing:
        warnings.warn(
            f"{run.path}: mends its masks by {', '.join(run.thresholds.postprocessing)}, which no export"
            " does",
            NervecegWarning,
            stacklevel=2,
        )
    with _new(out, config, force) as temporary:
        model = run.model()
        by_subset = frames_by_subset(run, frames)
        subset = next((p for p in ("validation", "unseen") if by_subset[p]), "validation")
        if not by_subset[subset]:
            raise no_frames(run, subset, by_subset)
        checked_on = _spread(by_subset[subset], MAX_CHECKED)
        size = config.frame_size or _usual_size(checked_on)
        measured = []
        if config.precision == Precision.int8:
            if not by_subset["train"]:
                raise no_frames(run, "train", by_subset)
            measured = _to_measure(model, by_subset["train"], size, config)
        metadata = _metadata(run, model, config, size)
        console.print(f"converting to {config.format}, {config.precision} …")
        write_facts = _write(model, run, temporary, config, size, measured)
        write_facts(metadata)
        comparison = ExportComparison(run, checked_on)
        ask, _ = open_export(temporary)
        limits = replace(default_limits(config.precision), **most)
        found = comparison.verify(ask, temporary, limits, str(out))
        if found.broken:
            raise ModelError(
                f"--out {out}: not written, for on {found.frames} {subset} frames"
                f" {'; '.join(found.broken)}; {_suggest_fix(config)}"
            )
        of_both = {"run": asdict(comparison.reference), "export": asdict(found)}
        write_facts({**metadata, "verified": {"subset": subset, **of_both}})
    written = out / str(config.version) if config.format == ExportFormat.savedmodel else out
    return written, comparison.reference, found


def _check_name(out: Path, config: ExportConfig) -> None:
    suffix = {ExportFormat.tflite: ".tflite", ExportFormat.onnx: ".onnx"}.get(config.format)
    is_folder = config.split or config.format == ExportFormat.savedmodel
    if suffix and not is_folder and out.suffix != suffix:
        raise ModelError(f"--out {out}: name a file that ends in {suffix}")
    if is_folder and out.suffix in (".tflite", ".onnx"):
        raise ModelError(f"--out {out}: such an export is a folder; name one")


def _new(out: Path, config: ExportConfig, force: bool) -> AbstractContextManager[Path]:
    if config.format == ExportFormat.savedmodel:
        return replacing_folder(out / str(config.version), MARKER, force)
    if config.split:
        return replacing_folder(out, GATE, force)
    check_new_file(out, force)
    return replacing(out)


def _write(
    model: NerveCeg,
    run: Run,
    path: Path,
    config: ExportConfig,
    size: Size,
    measured: Sequence[np.ndarray],
) -> Callable[[dict[str, Any]], None]:
    """Writes the model, and gives the function that writes its metadata, again and again."""
    if config.format == ExportFormat.savedmodel:
        write_saved_model(model, run.thresholds, path)
        return lambda metadata: write_assets_extra(path, metadata, config.name)
    if config.format == ExportFormat.tflite:
        write_tflite(model, path, size, config.precision, measured, config.split)
        holder = path / GATE if config.split else path
        return lambda metadata: append_metadata(holder, metadata)
    write_onnx(model, path, size)
    return lambda metadata: write_onnx_metadata(path, metadata)


def _metadata(run: Run, model: NerveCeg, config: ExportConfig, size: Size) -> dict[str, Any]:
    thresholds = {**asdict(run.thresholds), "postprocessing": ()}
    one = f"float32 (1, {size[0]}, {size[1]}, 1)"
    any_ = "float32 (batch, height, width, 1)"
    shape = any_ if config.format == ExportFormat.savedmodel else one
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
        "format": config.format,
        "precision": config.precision,
        "split": config.split,
        "frame_size": list(size),
        "gate_size": list(model.gate_size),
        "segmenter_size": list(model.segmenter_size),
        "recipe": run.description.get("recipe"),
        "thresholds": thresholds,
        "trained_on": {**data, "folder": folder and Path(folder).name} if data else None,
        "licence": config.licence,
        "note": "This is not a medical device.",
    }


def _usual_size(frames: Sequence[Frame]) -> Size:
    shapes = list(map_frames(lambda _, read: read().shape, frames))
    return max(set(shapes), key=shapes.count)


def _to_measure(
    model: NerveCeg, frames: Sequence[Frame], size: Size, config: ExportConfig
) -> list[np.ndarray]:
    """Training frames as the model takes them, half of them such as pass the gate if there are."""
    predict_presence = tf.function(model.predict_presence, reduce_retracing=True)
    candidates = _spread(frames, 4 * MAX_MEASURED)
    groups: dict[bool, list[np.ndarray]] = {True: [], False: []}
    loaded = map_frames(lambda _, read: resize_to_input(check_frame(read()), size), candidates)
    for image in track(loaded, "choosing frames to measure", len(candidates)):
        groups[bool(predict_presence(tf.constant(image))[0, 0] >= model.threshold)].append(image)
    if not groups[True] and not config.split:
        raise ModelError(
            "--precision int8: the gate lets no training frame pass, so nothing can be measured of"
            " the segmenter; train the gate longer, tune the run, or pass --split"
        )
    half = MAX_MEASURED // 2
    few = min(groups.values(), key=len)
    return [image for g in groups.values() for image in g[: max(half, MAX_MEASURED - len(few))]]


def _spread(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most so many frames, evenly from all of them."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(most, len(frames)), dtype=int)]


def _suggest_fix(config: ExportConfig) -> str:
    if config.frame_size:
        return "take a --frame-size nearer to that of the data, or leave it out"
    if config.precision == Precision.float32:
        return "this is a fault of the conversion, please report it"
    if config.precision == Precision.float16:
        return "take --precision float32"
    return (
        "take --precision float16, or allow more by --max-dice-drop and --max-auc-drop (what was"
        " made for integers, such as the gate and the encoder lite0, loses least)"
    )
