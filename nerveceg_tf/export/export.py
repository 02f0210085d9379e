"""Exports a run: writes it, compares it with the run, and only then gives it its name."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nerveceg_tf.data.folders.rows import Report
from nerveceg_tf.data.frame import Frame, map_frames
from nerveceg_tf.errors import ModelError, NervecegWarning
from nerveceg_tf.evaluation.frame_selection import frames_by_subset, no_frames
from nerveceg_tf.export.config import (
    ExportConfig,
    ExportFormat,
    Precision,
    TensorType,
    default_limits,
)
from nerveceg_tf.export.exporters import EXPORTERS
from nerveceg_tf.export.prediction import ExportFraming, check_frame
from nerveceg_tf.export.verify import ExportComparison, ExportReport
from nerveceg_tf.models.fold_upsampling import fold_stages
from nerveceg_tf.models.stage_settings import FRAMINGS
from nerveceg_tf.models.two_stage import NerveCeg
from nerveceg_tf.runs.run import Run
from nerveceg_tf.size import Size
from nerveceg_tf.utils.progress import console, track

MAX_CHECKED, MAX_MEASURED = 100, 100
"""Most frames that an export is compared with its run on, and most calibration frames of `int8`."""


def export_run(
    run: Run,
    out: Path | str,
    config: ExportConfig,
    frames: Sequence[Frame],
    force: bool = False,
    report: Report | None = None,
    **limits: float,
) -> tuple[Path, ExportReport, ExportReport]:
    """Writes a run as SavedModel, TFLite or ONNX, if the export agrees with the run.

    The export is compared with the run on at most 100 validation frames. If none are given, it is
    compared on frames that the run was not trained on. `int8` measures the range of activations on
    at most 100 training frames.

    Args:
        run: a run with a segmenter.
        out: the file to write; for a split TFLite export its folder; for a SavedModel the folder of
            the model, in which a folder for the version is made.
        config: what to write.
        frames: labelled frames of the data that the run was trained on, as from `find_frames`.
        force: replace an export that exists.
        report: as for `frames_by_subset`.
        limits: other values for the attributes of `Limits`, for example `gate_auc=0.02`.

    Returns:
        The path that was written, the measurements of the run, and those of the export.

    Raises:
        ModelError: the run has no segmenter, the format does not fit the run, or the export differs
            more than allowed. Then nothing is written.
        RunError: `out` is taken, or none of the frames can be used for the comparison.
        FrameError: a frame or mask is bad.
    """
    out = Path(out)
    if "segmenter" not in run.stages:
        raise ModelError(f"{run.path}: has no segmenter; combine it with a run that has")
    exporter = EXPORTERS[config.format](config)
    exporter.check(out)
    if steps := run.thresholds.postprocessing:
        warnings.warn(
            f"{run.path}: post-processes its masks by {', '.join(steps)}, which no export does",
            NervecegWarning,
            stacklevel=2,
        )
    if config.io == TensorType.uint8 and not config.split:
        warnings.warn(
            f"out={out}: its conditional computes in float32; for a microcontroller or an"
            " accelerator pass split=True",
            NervecegWarning,
            stacklevel=2,
        )
    with exporter.replacing(out, force) as path:
        model = run.model()
        _check_framing(model, config)
        by_subset = frames_by_subset(run, frames, report)
        subset = next((p for p in ("validation", "unseen") if by_subset[p]), "validation")
        if not by_subset[subset]:
            raise no_frames(run, subset, by_subset)
        checked_on = _spread(by_subset[subset], MAX_CHECKED)
        size = config.frame_size or _most_frequent_size(checked_on)
        calibration_frames = []
        if config.precision == Precision.int8:
            if not by_subset["train"]:
                raise no_frames(run, "train", by_subset)
            calibration_frames = _calibration_frames(model, by_subset["train"], size, config)
        console.print(f"converting to {config.format}, {config.precision} …")
        written = fold_stages(model) if exporter.folded else model
        exporter.write(written, run, path, size, calibration_frames)
        metadata = _metadata(run, model, config, size) | exporter.describe(path, run.thresholds)
        exporter.write_metadata(path, metadata)
        comparison = ExportComparison(run, checked_on, model)
        allowed = replace(default_limits(config.precision), **limits)
        compared = comparison.verify(exporter.open(path), path, allowed, str(out))
        if compared.broken:
            raise ModelError(
                f"out={out}: not written, because on {compared.frames} {subset} frames"
                f" {'; '.join(compared.broken)}; {_suggest_fix(config)}"
            )
        reports = {"run": asdict(comparison.reference), "export": asdict(compared)}
        exporter.write_metadata(path, {**metadata, "verified": {"subset": subset, **reports}})
    return exporter.target(out), comparison.reference, compared


def _metadata(run: Run, model: NerveCeg, config: ExportConfig, size: Size) -> dict[str, Any]:
    thresholds = {**asdict(run.thresholds), "postprocessing": ()}
    batch, sides = ("1" if config.format == ExportFormat.tflite else "batch"), "height, width"
    if config.format != ExportFormat.savedmodel:
        sides = f"{size[0]}, {size[1]}"
    shape = f"{config.io} ({batch}, {sides}, 1)"
    description = run.description
    data = description.get("data", {})
    folder = data.get("folder")
    return {
        "model": "nerveceg_tf",
        "version": description.get("versions", {}).get("nerveceg_tf"),
        "classes": ["no nerve", "nerve"],
        "inputs": {"image": f"{shape}, gray values 0..255"},
        "outputs": {
            "presence": f"{config.io} ({batch}, 1), probability that the frame shows a nerve",
            "mask": f"{shape}, nerve probability per pixel, 0 where presence < threshold",
        },
        "stages": list(run.stages),
        "format": config.format,
        "precision": config.precision,
        "io": config.io,
        "split": config.split,
        "frame_size": list(size),
        "gate_size": list(model.gate_size),
        "segmenter_size": list(model.segmenter_size),
        "framing": _framing(model)[0],
        "recipe": _without_folders(description.get("recipe")),
        "thresholds": thresholds,
        "trained_on": {**data, "folder": folder and Path(folder).name} if data else None,
        "licence": config.licence,
        "note": "This is not a medical device.",
    }


def _check_framing(model: NerveCeg, config: ExportConfig) -> None:
    framing, _ = _framing(model)
    for stage, name in framing.items():
        # The quantizer would round the positions of pixels, which are computed for each frame.
        if config.precision == Precision.int8 and FRAMINGS[name].cuts:
            raise ModelError(
                f"precision=int8: the {stage} sees frames by framing={name}, which cannot be"
                ' computed with 8 bits; pass precision="float16", or train with framing=letterbox'
            )


def _framing(model: NerveCeg) -> tuple[dict[str, str], dict[str, Size]]:
    """How each stage sees a frame, and the sizes of their inputs."""
    framing = {"gate": model.gate_framing, "segmenter": model.segmenter_framing}
    return framing, {"gate": model.gate_size, "segmenter": model.segmenter_size}


def _without_folders(recipe: dict[str, Any] | None) -> dict[str, Any] | None:
    """A recipe that does not tell where its files were."""
    weights = {n: Path(v).name for n, v in (recipe or {}).items() if n.endswith("_weights")}
    return recipe and recipe | weights


def _most_frequent_size(frames: Sequence[Frame]) -> Size:
    shapes = list(map_frames(lambda _, read: read().shape, frames))
    return max(set(shapes), key=shapes.count)


def _calibration_frames(
    model: NerveCeg, frames: Sequence[Frame], size: Size, config: ExportConfig
) -> list[np.ndarray]:
    """Training frames in the model's size. Half of them pass the gate, if enough do."""
    export_framing = ExportFraming(size, *_framing(model))
    predict_presence = tf.function(model.predict_presence, reduce_retracing=True)
    candidates = _spread(frames, 4 * MAX_MEASURED)
    groups: dict[bool, list[np.ndarray]] = {True: [], False: []}
    loaded = map_frames(lambda _, read: export_framing.to_model(check_frame(read())), candidates)
    for image in track(loaded, "choosing calibration frames", len(candidates)):
        groups[bool(predict_presence(tf.constant(image))[0, 0] >= model.threshold)].append(image)
    if not groups[True] and not config.split:
        raise ModelError(
            "precision=int8: no training frame passes the gate, so the segmenter cannot be"
            " measured; train the gate longer, tune the run, or pass split=True"
        )
    half = MAX_MEASURED // 2
    fewer = min(groups.values(), key=len)
    return [image for g in groups.values() for image in g[: max(half, MAX_MEASURED - len(fewer))]]


def _spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    """At most `count` frames, evenly from all of them."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(count, len(frames)), dtype=int)]


def _suggest_fix(config: ExportConfig) -> str:
    if config.frame_size:
        return "pass a frame_size nearer to that of the data, or leave it out"
    if config.precision == Precision.float32:
        return "this is a fault of the conversion, please report it"
    if config.precision == Precision.float16:
        return 'pass precision="float32"'
    return (
        'pass precision="float16", or allow a larger loss with nerve_dice=LOSS and gate_auc=LOSS'
        " (networks made for integers lose least, for example the gate and the encoder lite0)"
    )
