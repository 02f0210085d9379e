"""What one training leaves on disk, and how it is opened again.

A run is a folder: `run.json` (recipe, versions, data, seed), `split.json` (which frames were
trained and validated on, by name, subject and pixels), `gate.keras` and `segmenter.keras`, or
`shared.keras` in place of both, `thresholds.json`, `metrics.json` and `history.csv`. Every file is
written under a temporary name and renamed, so that a killed process leaves either the old file or
the new one.
"""

import platform
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nerveceg_tf.errors import RunError
from nerveceg_tf.models import GateAlone, NerveCeg, NoGate
from nerveceg_tf.models.two_stage import strip_compile
from nerveceg_tf.runs.files import EARLIER_KEYS, KINDS, Training
from nerveceg_tf.runs.fingerprints import load_fingerprints
from nerveceg_tf.runs.replacement import begin, finish
from nerveceg_tf.runs.shapes import SHAPES, ShapeModel
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.checked_json import check, read_json
from nerveceg_tf.utils.files import aside_path, replacing, write_json

STAGE_OUTPUTS = {"gate": "presence", "segmenter": "mask"}
STAGES = tuple(STAGE_OUTPUTS)
SUBSETS = ("train", "validation", "held_out")
EXCLUDED = "excluded"
"""Frames that fixes dropped: in no subset of the split, and never scored."""

_REPAIRS = {
    "thresholds.json": "run nerveceg tune again",
    "threshold_search.json": "run nerveceg tune again",
    "metrics.json": "run nerveceg evaluate --json again",
}


class Run:
    """A run folder.

    Args:
        path: the folder, made by `Run.create`.

    Raises:
        RunError: there is no run there.
    """

    augmented = False

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._parsed: tuple[tuple, dict] | None = None
        if (self.path / "cv.json").is_file():
            raise RunError(f"{self.path}: holds folds; name one of them, {self.path / 'fold_1'}")
        if not self.path.exists():
            aside = aside_path(self.path)
            advice = f"rename {aside} back" if aside.exists() else "make a run with nerveceg train"
            raise RunError(f"{self.path}: is not there; {advice}")
        if not (self.path / "run.json").is_file():
            advice = {
                ".keras": "join it with another by nerveceg combine",
                ".pt": "bring it over with nerveceg import-torch",
                ".pth": "bring it over with nerveceg import-torch",
            }.get(self.path.suffix, "make one with nerveceg train")
            raise RunError(f"{self.path}: is no run (it has no run.json); {advice}")

    @classmethod
    def create(cls, path: Path | str, description: dict[str, Any], force: bool = False) -> "Run":
        """Makes the folder and its `run.json`.

        Args:
            path: the folder to make; it must not hold anything unless `force`.
            description: what `run.json` says, beside the versions of the software.
            force: let the new run take the place of one that is there, once it is finished. Until
                then it is beside it, as `nerveceg_tf.runs.replacement.replacement_path` names it.

        Raises:
            RunError: `path` is in the way.
        """
        path, replaces = begin(Path(path), "run.json", force)
        description = {**description, **replaces}
        packages = ("nerveceg_tf", "tensorflow", "keras", "numpy", "opencv-python-headless")
        versions = {"python": platform.python_version(), **{p: version(p) for p in packages}}
        write_json(path / "run.json", {**description, "versions": versions})
        return cls(path)

    @property
    def description(self) -> dict[str, Any]:
        """The content of `run.json`."""
        return self.read("run.json")

    @property
    def training(self) -> dict[str, Any]:
        """The same of a run that was trained, with all that a training says.

        Raises:
            RunError: something is missing.
        """
        description = self.description
        try:
            check(description, Training)
        except ValueError as error:
            raise self.version_error(error) from None
        return description

    def version_error(self, reason: ValueError) -> RunError:
        """The error that `run.json` does not hold what a training of this version needs."""
        begun_with = self.description.get("versions", {}).get("nerveceg_tf", "unknown")
        return RunError(
            f"{self.path / 'run.json'}: {reason}; go on with the version that it was begun with"
            f" ({begun_with}, this is {version('nerveceg_tf')}), or train a new run"
        )

    @property
    def data(self) -> str:
        """The folder that the run was trained on.

        Raises:
            RunError: it is not known, as of stages that were combined, or not on this machine.
        """
        folder = self.description.get("data", {}).get("folder")
        if folder is None:
            raise RunError(
                f"{self.path}: does not say what it was trained on; name its frames (--on DATA)"
            )
        if not Path(folder).exists():
            raise RunError(
                f"{self.path}: was trained on {folder}, which is not here; name a folder of"
                " labelled frames (--on DATA; with --resume, DATA)"
            )
        return folder

    def update_metadata(self, **values: Any) -> None:
        """Adds to `run.json`."""
        self.write("run.json", {**self.description, **values})

    def finish(self) -> "Run":
        """Says in `run.json` that the training is finished, and takes the place of the run that it
        replaces, if it replaces one.

        Returns:
            The run where it is now.

        Raises:
            RunError: that place cannot be taken.
        """
        self.update_metadata(finished=True)
        return Run(finish(self.path, "run.json"))

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` the run has."""
        return tuple(stage for stage in STAGES if self.has("shared") or self.has(stage))

    def has(self, model: str) -> bool:
        """Whether the run holds this model: `"gate"`, `"segmenter"` or `"shared"`."""
        return self._file(model).is_file()

    def _file(self, stage: str) -> Path:
        return self.path / f"{stage}.keras"

    def _check_finished(self) -> None:
        if self.description.get("finished") is False:
            raise RunError(
                f"{self.path}: its training was interrupted; go on with nerveceg train --resume"
                f" {self.path}"
            )

    def load(self, stage: str) -> keras.Model:
        """Loads one stage: `"gate"`, `"segmenter"`, or the `"shared"` model of a run that has one.

        Raises:
            RunError: the run lacks it, or its file is damaged.
        """
        self._check_finished()
        if self.has("shared") and stage in STAGES:
            return stage_model(self.load("shared"), stage)
        path = self._file(stage)
        if not path.is_file():
            raise RunError(
                f"{self.path}: has no {stage}; train one, or combine it with a run that has"
            )
        return load_model(path)

    def model(self) -> keras.Model:
        """The stages that the run has as one model, with the run's thresholds.

        Returns:
            `NerveCeg`; without a gate its presence is always 1. Without a segmenter, a model that
            gives `presence` alone.
        """
        self._check_finished()
        thresholds = self.thresholds
        if self.has("shared"):
            return NerveCeg(self.load("shared"), None, thresholds.presence, thresholds.mask)
        if self.stages == ("gate",):
            return GateAlone(self.load("gate"))
        segmenter = self.load("segmenter")
        gate = self.load("gate") if "gate" in self.stages else NoGate()
        return NerveCeg(gate, segmenter, thresholds.presence, thresholds.mask)

    def save(self, stage: str, model: keras.Model) -> None:
        """Saves one stage, without the state of its optimizer."""
        with replacing(self._file(stage)) as temporary:
            strip_compile(model).save(temporary)

    @property
    def thresholds(self) -> Thresholds:
        """The run's thresholds, or the defaults if none were tuned."""
        content = self._tuned()
        return _thresholds(content) if content else Thresholds()

    @thresholds.setter
    def thresholds(self, value: Thresholds) -> None:
        self.write("thresholds.json", asdict(value))
        (self.path / "threshold_search.json").unlink(missing_ok=True)  # not of these

    @property
    def ungated_tuned(self) -> Thresholds | None:
        """The best thresholds for the segmenter without the gate; `None` if none were tuned."""
        content = self._tuned().get("ungated_tuned")
        return content and replace(_thresholds(content), presence=0.0)

    def _tuned(self) -> dict[str, Any]:
        """The content of `thresholds.json`, parsed once for each state of the file; empty if there
        is none."""
        path = self.path / "thresholds.json"
        if not path.is_file():
            return {}
        status = path.stat()
        state = status.st_mtime_ns, status.st_size, status.st_ino
        if self._parsed is None or self._parsed[0] != state:
            self._parsed = state, self.read(path.name)
        return self._parsed[1]

    @property
    def threshold_search(self) -> dict[str, Any] | None:
        """What `tune` searched: lists of thresholds `presence`, `mask` and `area`, the Kaggle Dice
        `score` of each combination, and the number of `frames`; `None` before `tune`.

        Raises:
            RunError: the file is damaged.
        """
        name = "threshold_search.json"
        if (self.path / name).is_file():
            search = self.read(name)
        else:
            name = "thresholds.json"  # where version 0.1 kept it
            content = self._tuned()
            if "surface" not in content:
                return None
            search = {**content["surface"], "frames": content.get("frames")}
        try:
            score = np.array(search["score"], float)
        except (TypeError, ValueError):
            score = np.array(np.nan)
        axes = tuple(len(search[axis]) for axis in ("presence", "mask", "area"))
        if search["frames"] is None or score.shape != axes or not np.isfinite(score).all():
            raise RunError(
                f"{self.path / name}: is damaged (frames is missing, or score does not match its"
                f" thresholds); {_REPAIRS[name]}"
            )
        return search

    @property
    def shapes(self) -> ShapeModel | None:
        """The shapes of nerves for the postprocessing step `shape`; `None` without that step.

        Raises:
            RunError: the step is chosen, and its file is missing or damaged.
        """
        if "shape" not in self.thresholds.postprocessing:
            return None
        return ShapeModel.load(self.path / SHAPES)

    def forget_damaged_thresholds(self) -> None:
        """Removes a `thresholds.json` that cannot be read, so that it can be made anew."""
        try:
            _ = self.thresholds, self.ungated_tuned
        except RunError:
            (self.path / "thresholds.json").unlink()

    @property
    def name(self) -> str:
        """What to call the run: its folder."""
        return str(self.path)

    @property
    def members(self) -> tuple["Run", ...]:
        """The run itself; of an ensemble, all its runs."""
        return (self,)

    @cached_property
    def subsets(self) -> dict[str, str]:
        """Fingerprint of each frame that the run knows, to `train`, `validation`, `held_out` or
        `left_out`."""
        split = self.read("split.json", *SUBSETS)
        # The last wins: a frame that any stage was trained on counts as trained on.
        order = (EXCLUDED, *reversed(SUBSETS))
        return {f["digest"]: subset for subset in order for f in split.get(subset, ())}

    @cached_property
    def fingerprints(self) -> dict[str, np.ndarray]:
        """Fingerprint, float16 `(780,)`, of frames that the run was trained or validated on, by
        their digest; none of a run of an earlier version."""
        return load_fingerprints(self.path)

    def read(self, name: str, *keys: str) -> Any:
        """Reads one of the run's JSON files.

        Raises:
            RunError: it is missing or damaged, or lacks one of `keys`.
        """
        try:
            content = read_json(self.path / name, KINDS.get(name, dict), EARLIER_KEYS.get(name))
            for key in keys:
                if key not in content:
                    raise ValueError(f"{key} is missing")
        except ValueError as error:
            advice = _REPAIRS.get(name, "train again")
            raise RunError(
                f"{self.path / name}: is missing or damaged ({error}); {advice}"
            ) from None
        return content

    def write(self, name: str, content: Any) -> None:
        """Writes one of the run's JSON files."""
        write_json(self.path / name, content)


def _thresholds(content: dict) -> Thresholds:
    numbers = content["presence"], content["mask"], content.get("area", 0.0)
    return Thresholds(*map(float, numbers), tuple(content.get("postprocessing", ())))


def stage_model(model: keras.Model, stage: str) -> keras.Model:
    """The subset of a `SharedGate` model that is one stage, or the model if it is but one stage."""
    if not isinstance(model.output, dict):
        return model
    return keras.Model(model.inputs[0], model.output[STAGE_OUTPUTS[stage]], name=stage)


def load_model(path: Path) -> keras.Model:
    """Opens a `.keras` file.

    Raises:
        RunError: it is not there, or cannot be loaded.
    """
    if not path.is_file():
        raise RunError(f"{path}: there is no such file")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:
        raise RunError(
            f"{path}: cannot be loaded ({type(error).__name__}); train or import it again"
        ) from error
