"""Makes one run from the stages of two others."""

import warnings
from dataclasses import replace
from pathlib import Path

import keras

from nerveceg_tf.errors import ModelError, NervecegWarning
from nerveceg_tf.models import NerveCeg
from nerveceg_tf.models.stage_settings import stage_settings
from nerveceg_tf.runs.fingerprints import save_fingerprints
from nerveceg_tf.runs.run import (
    Run,
    load_model,
    run_of_file,
    stage_model,
)
from nerveceg_tf.runs.subsets import EARLIER, EXCLUDED, SUBSETS, TAUGHT
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.files import replacing_folder


def combine(gate: Path | str, segmenter: Path | str, out: Path | str, force: bool = False) -> Run:
    """Makes a run from the gate of one run and the segmenter of another.

    The two may be trained on different data. A frame that either of them was trained on counts as
    a training frame of the new run. For a model file that is not in the folder of its run, or in
    the `epochs` there, the training frames are not known.

    The new run keeps the thresholds of its two sources: `presence` of the gate's run, `mask` and
    `area` of the segmenter's run. Imported weights have a mask threshold too, that of the original.
    The new run has no post-processing. Tune it again with `tune`, and pass
    the frames, because the new run does not record a data folder.

    Args:
        gate: folder of a run with a gate, or a `.keras` file.
        segmenter: folder of a run with a segmenter, or a `.keras` file.
        out: folder for the new run.
        force: replace a run that is already at `out`.

    Returns:
        The new run.

    Raises:
        RunError: a run does not have the stage, a file cannot be loaded, or `out` cannot be
            written.
        ModelError: the two models do not fit together.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from nerveceg_tf.runs.bundled import bundled_folder
        >>> with TemporaryDirectory() as folder:
        ...     run = combine(bundled_folder(), bundled_folder(), f"{folder}/both")
        ...     run.stages
        ('gate', 'segmenter')
    """
    paths = {"gate": Path(gate), "segmenter": Path(segmenter)}
    runs = {stage: None if path.suffix == ".keras" else Run(path) for stage, path in paths.items()}
    models = {
        stage: run.load(stage) if run else stage_model(load_model(paths[stage]), stage)
        for stage, run in runs.items()
    }
    try:
        NerveCeg(models["gate"], models["segmenter"])
    except ModelError as error:
        raise ModelError(f"{gate} and {segmenter} do not fit together: {error}") from None
    sources = {
        stage: {"from": str(paths[stage]), **(run.description if run else {})}
        for stage, run in runs.items()
    }
    trained = [known for stage, run in runs.items() if (known := run or run_of_file(paths[stage]))]
    splits = [run.read("split.json", *SUBSETS) for run in trained]
    thresholds = {
        stage: run.thresholds if run else _of_file(models[stage]) for stage, run in runs.items()
    }
    if postprocessing := thresholds["segmenter"].postprocessing:
        warnings.warn(
            f"{segmenter}: its post-processing ({', '.join(postprocessing)}) was chosen with"
            f" another gate, so {out} has none; choose it"
            " again with tune(run, tune_postprocessing=True)",
            NervecegWarning,
            stacklevel=2,
        )
    # Everything is in memory by now, because `out` may be one of the sources.
    with replacing_folder(Path(out), "run.json", force) as folder:
        run = Run.create(folder, {"combined_from": sources})
        fingerprints = {
            digest: fingerprint
            for source in trained
            for digest, fingerprint in source.fingerprints.items()
        }
        if fingerprints:
            save_fingerprints(folder, fingerprints)
        merged = {
            subset: [
                frame
                for split in splits
                for frame in (*split.get(subset, ()), *split.get(EARLIER, {}).get(subset, ()))
            ]
            for subset in (*SUBSETS, EXCLUDED)
        }
        taught = {
            subset: [frame for split in splits for frame in split.get(TAUGHT, {}).get(subset, ())]
            for subset in ("train", "validation")
        }
        run.write("split.json", merged | ({TAUGHT: taught} if any(taught.values()) else {}))
        for stage, model in models.items():
            run.save(stage, model)
        run.thresholds = replace(
            thresholds["segmenter"], presence=thresholds["gate"].presence, postprocessing=()
        )
    return Run(out)


def _of_file(model: keras.Model) -> Thresholds:
    mask = stage_settings(model).mask_threshold
    return Thresholds() if mask is None else Thresholds(mask=mask)
