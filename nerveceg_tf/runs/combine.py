"""A run made of the stages of two others."""

import warnings
from dataclasses import replace
from pathlib import Path

from nerveceg_tf.errors import ModelError, NervecegWarning
from nerveceg_tf.models import NerveCeg
from nerveceg_tf.runs.fingerprints import save_fingerprints
from nerveceg_tf.runs.run import EXCLUDED, SUBSETS, Run, load_model, stage_model
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.files import replacing_folder


def combine(gate: Path | str, segmenter: Path | str, out: Path | str, force: bool = False) -> Run:
    """Makes a run of the gate of one and the segmenter of another, trained on whatever data.

    A frame that either was trained on counts as trained on; of a single model file it is not known.

    Args:
        gate: a run, or a `.keras` file.
        segmenter: a run, or a `.keras` file.
        out: folder for the new run.
        force: replace a run that is at `out`.

    Raises:
        RunError: a run lacks its stage, a file cannot be loaded, or `out` is in the way.
        ModelError: the two do not fit together.
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
        raise ModelError(f"{gate} and {segmenter} make no run: {error}") from None
    sources = {
        stage: {"from": str(paths[stage]), **(run.description if run else {})}
        for stage, run in runs.items()
    }
    splits = [run.read("split.json", *SUBSETS) for run in runs.values() if run]
    thresholds = {stage: run.thresholds if run else Thresholds() for stage, run in runs.items()}
    if postprocessing := thresholds["segmenter"].postprocessing:
        warnings.warn(
            f"{segmenter}: its post-processing ({', '.join(postprocessing)}) was chosen behind its own"
            f" gate, so {out} has none; nerveceg tune --tune-postprocessing chooses it again",
            NervecegWarning,
            stacklevel=2,
        )
    # Everything is read by now: `out` may be one of the sources.
    with replacing_folder(Path(out), "run.json", force) as folder:
        run = Run.create(folder, {"combined_from": sources})
        subsets = (*SUBSETS, EXCLUDED)
        known = {d: f for r in runs.values() if r for d, f in r.fingerprints.items()}
        if known:
            save_fingerprints(folder, known)
        run.write("split.json", {p: [f for s in splits for f in s.get(p, ())] for p in subsets})
        for stage, model in models.items():
            run.save(stage, model)
        run.thresholds = replace(
            thresholds["segmenter"], presence=thresholds["gate"].presence, postprocessing=()
        )
    return Run(out)
