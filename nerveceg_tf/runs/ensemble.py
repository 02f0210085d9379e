"""Several runs asked as one, with or without test-time augmentation."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.models.ensemble import IDENTITY, TTA_TRANSFORMS, EnsembleModel
from nerveceg_tf.runs.bundled import bundled_run
from nerveceg_tf.runs.protocol import TrainedRun
from nerveceg_tf.runs.run import EXCLUDED, SUBSETS, Run
from nerveceg_tf.runs.shapes import SHAPES, ShapeModel
from nerveceg_tf.runs.thresholds import Thresholds


class RunEnsemble:
    """Runs whose presences and masks are averaged before one gate; scored and asked like a run.

    Args:
        runs: one or more runs, each with a segmenter. Without a gate, a run's presence is 1.
        augmented: let each look at every frame four times: as it is, mirrored, shifted twice.

    Raises:
        RunError: a run has no segmenter, or only some have a gate.
    """

    def __init__(self, runs: Sequence[Run], augmented: bool = False):
        for run in runs:
            if "segmenter" not in run.stages:
                raise RunError(f"{run.path}: has no segmenter, whose masks could be averaged")
        if len({run.stages for run in runs}) > 1:
            raise RunError(
                f"{_and(runs)}: only some have a gate; combine runs that have both stages"
            )
        self.runs, self.augmented = runs, augmented
        _, why = self._postprocessing()
        if why:
            warnings.warn(f"{_and(runs)} {why}", NervecegWarning, stacklevel=2)

    def _postprocessing(self) -> tuple[tuple[str, ...], str | None]:
        """The steps that mend the one mask that there is, and why they are not those of each."""
        postprocessing = self.runs[0].thresholds.postprocessing
        if any(run.thresholds.postprocessing != postprocessing for run in self.runs):
            return (), "mend their masks in different ways; together they do not mend them"
        if "shape" not in postprocessing or len(self.runs) == 1:
            return postprocessing, None
        first, *others = (ShapeModel.load(run.path / SHAPES) for run in self.runs)
        if all(first.equals(other) for other in others):
            return postprocessing, None
        return (
            tuple(step for step in postprocessing if step != "shape"),
            f"learned other shapes of nerves ({SHAPES}); together they leave the step shape out",
        )

    @property
    def path(self) -> Path:
        """What to call the runs: of one its folder, of several no folder, but all their names."""
        return Path(" + ".join(str(run.path) for run in self.runs))

    @property
    def name(self) -> str:
        """The names of the runs, and whether test-time augmentation is used."""
        return f"{self.path}, each frame seen four times" if self.augmented else str(self.path)

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs."""
        return tuple(self.runs)

    @property
    def threshold_search(self) -> None:
        """None: each run was tuned by itself."""
        return None

    @property
    def shapes(self) -> ShapeModel | None:
        """The shapes that the runs have in common; `None` without the step `shape`."""
        return self.runs[0].shapes if "shape" in self.thresholds.postprocessing else None

    @property
    def data(self) -> str:
        """The folder that the runs were trained on.

        Raises:
            RunError: they were trained on several, or one does not know.
        """
        folders = [run.data for run in self.runs]
        if len(set(folders)) > 1:
            raise RunError(
                f"{_and(self.runs)}: were trained on other data each; name a folder of labelled"
                " frames (--data DATA)"
            )
        return folders[0]

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` the runs have."""
        return self.runs[0].stages

    @property
    def thresholds(self) -> Thresholds:
        """The means of the runs' thresholds, and the postprocessing that they have in common."""
        postprocessing, _ = self._postprocessing()
        return replace(_mean([run.thresholds for run in self.runs]), postprocessing=postprocessing)

    @property
    def ungated_tuned(self) -> Thresholds | None:
        """The means of the best thresholds without a gate; `None` where one was not tuned."""
        alone = [run.ungated_tuned for run in self.runs]
        return None if None in alone else _mean(alone)

    @property
    def subsets(self) -> dict[str, str]:
        """As of a run; a frame that any run was trained on counts as trained on."""
        known = [run.subsets for run in self.runs]
        order = [EXCLUDED, *reversed(SUBSETS)]
        return {
            digest: max((k[digest] for k in known if digest in k), key=order.index)
            for digest in set().union(*known)
        }

    @property
    def fingerprints(self) -> dict[str, np.ndarray]:
        """As of a run, of all the runs."""
        return {d: values for run in self.runs for d, values in run.fingerprints.items()}

    def model(self) -> EnsembleModel:
        """The runs' models as one, that answers like `NerveCeg`."""
        models = [run.model() for run in self.runs]
        transforms = TTA_TRANSFORMS if self.augmented else IDENTITY
        return EnsembleModel(models, self.thresholds.presence, transforms)


def open_runs(paths: Sequence[Path], augmented: bool = False) -> TrainedRun:
    """Opens a run, or several as one.

    Args:
        paths: folders of runs; none for the bundled model.
        augmented: use test-time augmentation.

    Raises:
        RunError: a folder is no run, or they do not go together.
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
