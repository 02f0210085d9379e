"""Several runs used as one, with or without test-time augmentation."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.models.ensemble import IDENTITY, TTA_TRANSFORMS, EnsembleModel
from nerveceg_tf.models.fold_upsampling import fold_stages
from nerveceg_tf.models.predictor import KerasPredictor
from nerveceg_tf.runs.bundled import bundled_run
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.run import Run
from nerveceg_tf.runs.shapes import SHAPES, ShapeModel
from nerveceg_tf.runs.subsets import EXCLUDED, SUBSETS
from nerveceg_tf.runs.thresholds import Thresholds


class RunEnsemble:
    """An ensemble of runs, which is predicted and scored like a single run.

    It averages the presences and the mask probabilities of its runs. One gate decides on the
    averaged presence. Its thresholds are the means of the runs' thresholds, so tune each run
    before.

    Args:
        runs: one or more runs, each with a segmenter. Either all or none of them have a gate;
            without a gate, the presence is always 1.
        augmented: use test-time augmentation. Each run then predicts every frame four times:
            unchanged, mirrored, and with two shifts.

    Raises:
        RunError: a run has no segmenter, or only some of them have a gate.

    Example:
        >>> from nerveceg_tf.runs.bundled import bundled_run
        >>> ensemble = RunEnsemble([bundled_run()], augmented=True)
        >>> ensemble.stages
        ('gate', 'segmenter')
    """

    can_ungate = True

    def __init__(self, runs: Sequence[Run], augmented: bool = False):
        for run in runs:
            if "segmenter" not in run.stages:
                raise RunError(
                    f"{run.path}: has no segmenter; an ensemble averages masks, so each run needs"
                    " one"
                )
        if len({run.stages for run in runs}) > 1:
            raise RunError(
                f"{_and(runs)}: only some have a gate; combine runs that have both stages"
            )
        self.runs, self.augmented = runs, augmented
        _, reason = self._postprocessing()
        if reason:
            warnings.warn(f"{_and(runs)} {reason}", NervecegWarning, stacklevel=2)

    def _postprocessing(self) -> tuple[tuple[str, ...], str | None]:
        """The steps for the averaged mask; and if they differ from those of a run, the reason."""
        postprocessing = self.runs[0].thresholds.postprocessing
        if any(run.thresholds.postprocessing != postprocessing for run in self.runs):
            return (), "use different post-processing steps; the ensemble uses none"
        if "shape" not in postprocessing or len(self.runs) == 1:
            return postprocessing, None
        first, *others = (ShapeModel.load(run.path / SHAPES) for run in self.runs)
        if all(first.equals(other) for other in others):
            return postprocessing, None
        return (
            tuple(step for step in postprocessing if step != "shape"),
            f"learned different nerve shapes ({SHAPES}); the ensemble leaves the step shape out",
        )

    @property
    def path(self) -> Path:
        """The folder of a single run; for several runs not a folder, but all their names."""
        return Path(" + ".join(str(run.path) for run in self.runs))

    @property
    def name(self) -> str:
        """The names of the runs, and whether test-time augmentation is used."""
        note = ", with test-time augmentation (4 views of each frame)"
        return f"{self.path}{note}" if self.augmented else str(self.path)

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs."""
        return tuple(self.runs)

    @property
    def threshold_search(self) -> None:
        """Always `None`, because each run was tuned by itself."""
        return None

    @property
    def shapes(self) -> ShapeModel | None:
        """The shape model that the runs share; `None` without the step `shape`."""
        return self.runs[0].shapes if "shape" in self.thresholds.postprocessing else None

    @property
    def data(self) -> str:
        """The folder that the runs were trained on.

        Raises:
            RunError: they were trained on different folders, or the folder of one is not known.
        """
        folders = [run.data for run in self.runs]
        if len(set(folders)) > 1:
            raise RunError(
                f"{_and(self.runs)}: were trained on different data; name a folder of labelled"
                " frames (data=DATA)"
            )
        return folders[0]

    @property
    def read_options(self) -> ReadOptions:
        """How the files of the runs' training data were read; the defaults if they differ."""
        options = {run.read_options for run in self.runs}
        return options.pop() if len(options) == 1 else AS_DECLARED

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` the runs have."""
        return self.runs[0].stages

    @property
    def thresholds(self) -> Thresholds:
        """The means of the runs' thresholds, and the post-processing that all runs share."""
        postprocessing, _ = self._postprocessing()
        return replace(_mean([run.thresholds for run in self.runs]), postprocessing=postprocessing)

    @property
    def ungated_tuned(self) -> Thresholds | None:
        """The means of the best thresholds without a gate; `None` if a run was not tuned."""
        tuned = [best for run in self.runs if (best := run.ungated_tuned) is not None]
        return _mean(tuned) if len(tuned) == len(self.runs) else None

    @property
    def subsets(self) -> dict[str, str]:
        """As `Run.subsets`. A frame that any of the runs was trained on counts as a training
        frame."""
        by_run = [run.subsets for run in self.runs]
        order = [EXCLUDED, *reversed(SUBSETS)]
        return {
            digest: max((known[digest] for known in by_run if digest in known), key=order.index)
            for digest in set().union(*by_run)
        }

    @property
    def trained_digests(self) -> frozenset[str]:
        """As `Run.trained_digests`, of any of the runs."""
        return frozenset().union(*(run.trained_digests for run in self.runs))

    @property
    def fingerprints(self) -> dict[str, np.ndarray]:
        """As `Run.fingerprints`, for the frames of all the runs."""
        return {d: values for run in self.runs for d, values in run.fingerprints.items()}

    def model(self) -> EnsembleModel:
        """The models of the runs as one model, with the same outputs as `NerveCeg`."""
        models = [run.model() for run in self.runs]
        transforms = TTA_TRANSFORMS if self.augmented else IDENTITY
        return EnsembleModel(models, self.thresholds.presence, transforms)

    def predictor(self, gated: bool = True) -> KerasPredictor:
        """As `TrainedRun.predictor`."""
        model = self.model()
        model.members = [fold_stages(member) for member in model.members]
        if not gated:
            model.threshold = 0.0
        return KerasPredictor(model)


def open_run_folders(paths: Sequence[Path], augmented: bool = False) -> TrainedRun:
    """Opens one run, or several runs as an ensemble.

    Args:
        paths: folders of runs; an empty list for the bundled model.
        augmented: use test-time augmentation.

    Returns:
        A `Run`, or a `RunEnsemble` if there are several paths or `augmented` is set.

    Raises:
        RunError: a folder is not a run folder, or the runs cannot form an ensemble.

    Example:
        >>> open_run_folders([]).stages
        ('gate', 'segmenter')
    """
    runs = [Run(path) for path in paths] or [bundled_run()]
    return runs[0] if len(runs) == 1 and not augmented else RunEnsemble(runs, augmented)


def _mean(settings: Sequence[Thresholds]) -> Thresholds:
    presence, mask, area = (
        float(np.mean([getattr(s, name) for s in settings]))
        for name in ("presence", "mask", "area")
    )
    return Thresholds(presence, mask, area)


def _and(runs: Sequence[Run]) -> str:
    return " and ".join(str(run.path) for run in runs)
