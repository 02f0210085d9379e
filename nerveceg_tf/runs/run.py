"""The folder that a training writes, and how to open it again.

A run is a folder with these files:

- `run.json`: recipe, versions, data and seed;
- `split.json`: the frames of training, validation and hold-out, by name, subject and pixels;
- `gate.keras` and `segmenter.keras`, or `shared.keras` in place of both;
- `thresholds.json`, `threshold_search.json`, `metrics.json`, `history.csv` and `shapes.npz`;
- `fingerprints.npz`, by which changed copies of its frames are recognised;
- the folder `logs` for TensorBoard, and `targets` while other runs teach it;
- the folder `epochs`, if the training kept every epoch: `segmenter_007.keras` and so on. Nothing
  needs it; it may be deleted.

Every file is written under a temporary name and then renamed. So a killed process leaves either
the old file or the new one.
"""

import platform
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.errors import RunError
from nerveceg_tf.models import GateAlone, NerveCeg, NoGate
from nerveceg_tf.models.fold_upsampling import fold_stages
from nerveceg_tf.models.predictor import KerasPredictor
from nerveceg_tf.models.two_stage import strip_compile
from nerveceg_tf.runs.files import EARLIER_KEYS, KINDS, Training
from nerveceg_tf.runs.fingerprints import load_fingerprints
from nerveceg_tf.runs.replacement import begin, finish
from nerveceg_tf.runs.shapes import SHAPES, ShapeModel
from nerveceg_tf.runs.subsets import EARLIER, EXCLUDED, SUBSETS, TAUGHT
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.utils.checked_json import check, read_json
from nerveceg_tf.utils.files import aside_path, replacing, write_json

EPOCHS = "epochs"
"""The folder of the weights of every epoch."""
STAGE_OUTPUTS = {"gate": "presence", "segmenter": "mask"}
STAGES = tuple(STAGE_OUTPUTS)

_FIXES = {
    "thresholds.json": "write it again with tune(run)",
    "threshold_search.json": "write it again with tune(run)",
    "metrics.json": "write it again with evaluate(run, frames)",
}


class Run:
    """A run folder: the trained models, their thresholds, and the record of their training.

    Args:
        path: an existing run folder, as written by `train` or `combine`.

    Raises:
        RunError: the folder is missing, or it is not a run folder.

    Example:
        >>> from nerveceg_tf.runs.bundled import bundled_folder
        >>> run = Run(bundled_folder())
        >>> run.stages
        ('gate', 'segmenter')
        >>> model = run.model()
    """

    augmented = False
    can_ungate = True

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._parsed: dict[str, tuple[tuple[int, int, int] | None, Any]] = {}
        if (self.path / "cv.json").is_file():
            raise RunError(f"{self.path}: contains folds; name one fold: {self.path / 'fold_1'}")
        if not self.path.exists():
            aside = aside_path(self.path)
            advice = f"rename {aside} back" if aside.exists() else "make a run with train(...)"
            raise RunError(f"{self.path}: not found; {advice}")
        if not (self.path / "run.json").is_file():
            advice = {
                ".keras": "make a run of it with combine(...)",
                ".pt": "convert it with import_torch(path)",
                ".pth": "convert it with import_torch(path)",
                ".tflite": "it is an export; name the RUN that it was made from",
                ".onnx": "it is an export; name the RUN that it was made from",
            }.get(self.path.suffix, "make one with train(...)")
            raise RunError(f"{self.path}: is not a run folder (it has no run.json); {advice}")

    @classmethod
    def create(cls, path: Path | str, description: dict[str, Any], force: bool = False) -> "Run":
        """Makes a new run folder with a `run.json`.

        Args:
            path: the folder to make. If it exists, it must be empty, unless `force` is set.
            description: the content of `run.json`; the software versions are added.
            force: replace a run at `path` as soon as the new one is finished. Until then the new
                one is next to it, at `nerveceg_tf.runs.replacement.replacement_path(path)`.

        Returns:
            The new run.

        Raises:
            RunError: `path` cannot be used.
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
        return deepcopy(self._parsed_once("run.json", lambda content: content))

    @property
    def training(self) -> dict[str, Any]:
        """The content of `run.json`, checked for all keys that a training writes.

        Raises:
            RunError: a key is missing, or its value is wrong.
        """
        description = self.description
        try:
            check(description, Training)
        except ValueError as error:
            raise self.version_error(error) from None
        return description

    def version_error(self, reason: ValueError) -> RunError:
        """The error for a `run.json` that this version cannot resume.

        Args:
            reason: what is wrong with it.
        """
        started_with = self.description.get("versions", {}).get("nerveceg_tf", "unknown")
        return RunError(
            f"{self.path / 'run.json'}: {reason}; resume with the version that it was started with"
            f" ({started_with}, this is {version('nerveceg_tf')}), or train a new run"
        )

    @property
    def data(self) -> str:
        """The folder of the training data.

        Raises:
            RunError: it is not recorded, as for a combined run, or it is not on this machine.
        """
        folder = self.description.get("data", {}).get("folder")
        if folder is None:
            raise RunError(
                f"{self.path}: does not record its training data; name its frames (data=DATA)"
            )
        if not Path(folder).exists():
            raise RunError(
                f"{self.path}: was trained on {folder}, which does not exist; name a folder of"
                " labelled frames (data=DATA)"
            )
        return folder

    @property
    def read_options(self) -> ReadOptions:
        """How the files of the training data were read; the defaults for older runs."""
        return ReadOptions.from_json(self.description.get("data", {}).get("read_options", {}))

    def update_metadata(self, **values: Any) -> None:
        """Adds keys to `run.json`, or replaces their values."""
        self.write("run.json", {**self.description, **values})

    def finish(self) -> "Run":
        """Marks the training as finished in `run.json`, and replaces the older run, if there is
        one.

        Returns:
            The run, at its final path.

        Raises:
            RunError: the older run cannot be replaced.
        """
        self.update_metadata(finished=True)
        return Run(finish(self.path, "run.json"))

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` the run has."""
        return tuple(stage for stage in STAGES if self.has("shared") or self.has(stage))

    def has(self, model: str) -> bool:
        """Whether the run folder has this model file: `"gate"`, `"segmenter"` or `"shared"`."""
        return self._file(model).is_file()

    def _file(self, stage: str) -> Path:
        return self.path / f"{stage}.keras"

    def check_finished(self) -> None:
        """Checks that its training is finished.

        Raises:
            RunError: it was interrupted.
        """
        if self.description.get("finished") is False:
            raise RunError(
                f'{self.path}: its training was interrupted; resume with resume("{self.path}")'
            )

    def load(self, stage: str) -> keras.Model:
        """Loads one stage.

        Args:
            stage: `"gate"`, `"segmenter"`, or `"shared"` for the model of a run that has one
                model for both.

        Returns:
            The model, not compiled.

        Raises:
            RunError: the run does not have the stage, its file is damaged, or its training was
                interrupted.
        """
        self.check_has(stage)
        if self.has("shared") and stage in STAGES:
            return stage_model(self.load("shared"), stage)
        return load_model(self._file(stage))

    def check_has(self, stage: str) -> None:
        """Checks that the run is finished, and has a stage.

        Args:
            stage: as for `load`.

        Raises:
            RunError: it is not, or does not have it.
        """
        self.check_finished()
        if not self.has(stage) and stage not in self.stages:
            raise RunError(
                f"{self.path}: has no {stage}; train one, or combine it with a run that has one"
            )

    def model(self) -> keras.Model:
        """Loads all stages of the run as one model, with the run's thresholds.

        Returns:
            A `NerveCeg`; without a gate, its presence is always 1. For a run without a segmenter a
            `GateAlone`, whose only output is `presence`.

        Raises:
            RunError: a file is damaged, or the training was interrupted.
        """
        self.check_finished()
        thresholds = self.thresholds
        if self.has("shared"):
            return NerveCeg(self.load("shared"), None, thresholds.presence, thresholds.mask)
        if self.stages == ("gate",):
            return GateAlone(self.load("gate"))
        segmenter = self.load("segmenter")
        gate = self.load("gate") if "gate" in self.stages else NoGate()
        return NerveCeg(gate, segmenter, thresholds.presence, thresholds.mask)

    def predictor(self, gated: bool = True) -> KerasPredictor:
        """As `TrainedRun.predictor`."""
        model = self.model()
        if not gated and "segmenter" in self.stages:
            model.threshold = 0.0
        return KerasPredictor(fold_stages(model) if isinstance(model, NerveCeg) else model)

    def save(self, stage: str, model: keras.Model) -> None:
        """Saves one stage, without the state of its optimizer.

        Args:
            stage: `"gate"`, `"segmenter"` or `"shared"`.
            model: the model to save.
        """
        with replacing(self._file(stage)) as temporary:
            strip_compile(model).save(temporary)

    @property
    def thresholds(self) -> Thresholds:
        """The run's thresholds; the defaults before `tune`. Assign to change them.

        Raises:
            RunError: `thresholds.json` is damaged.
        """
        return self._tuned()[0]

    @thresholds.setter
    def thresholds(self, value: Thresholds) -> None:
        self.write("thresholds.json", asdict(value))
        # It belongs to the old thresholds.
        (self.path / "threshold_search.json").unlink(missing_ok=True)

    @property
    def ungated_tuned(self) -> Thresholds | None:
        """The best thresholds for the segmenter without the gate; `None` before `tune`."""
        return self._tuned()[1]

    def _tuned(self) -> tuple[Thresholds, Thresholds | None]:
        """The thresholds of the run, and those of its segmenter without the gate."""
        if not (self.path / "thresholds.json").is_file():
            return Thresholds(), None
        return self._parsed_once("thresholds.json", _both_thresholds)

    def _parsed_once(self, name: str, parse: Callable[[dict], Any]) -> Any:
        """What `parse` returns for a JSON file, computed once per state of the file."""
        path = self.path / name
        status = path.stat() if path.is_file() else None
        state = status and (status.st_mtime_ns, status.st_size, status.st_ino)
        known, value = self._parsed.get(name, (None, None))
        if state is None or known != state:
            value = parse(self.read(name))
            self._parsed[name] = state, value
        return value

    @property
    def threshold_search(self) -> dict[str, Any] | None:
        """The thresholds and scores that `tune` tried; `None` before `tune`.

        Its keys are the lists of thresholds `presence`, `mask` and `area`; `score`, the Kaggle
        Dice of each combination in nested lists; and `frames`, the number of validation frames.

        Raises:
            RunError: the file is damaged.
        """
        name = "threshold_search.json"
        if (self.path / name).is_file():
            search = self.read(name)
        else:
            name = "thresholds.json"  # version 0.1 wrote it there
            content = self.read(name) if (self.path / name).is_file() else {}
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
                f" thresholds); {_FIXES[name]}"
            )
        return search

    @property
    def shapes(self) -> ShapeModel | None:
        """The shape model for the post-processing step `shape`; `None` without that step.

        Raises:
            RunError: the run uses the step, and its file is missing or damaged.
        """
        if "shape" not in self.thresholds.postprocessing:
            return None
        return ShapeModel.load(self.path / SHAPES)

    def forget_damaged_thresholds(self) -> None:
        """Deletes a `thresholds.json` that cannot be read, so that it can be written again."""
        try:
            _ = self.thresholds, self.ungated_tuned
        except RunError:
            (self.path / "thresholds.json").unlink()

    @property
    def name(self) -> str:
        """The name of the run: its folder."""
        return str(self.path)

    @property
    def members(self) -> tuple["Run", ...]:
        """The run itself, in a tuple; an ensemble has several."""
        return (self,)

    @cached_property
    def subsets(self) -> dict[str, str]:
        """From the digest of each frame in `split.json` to its subset: `"train"`, `"validation"`,
        `"held_out"` or `"excluded"`."""
        split = self.read("split.json", *SUBSETS)
        earlier, taught = (split.get(key, {}) for key in (EARLIER, TAUGHT))
        # The last one wins: a frame that any stage was trained on counts as a training frame.
        order = (
            *((split, subset) for subset in (EXCLUDED, "held_out")),
            *((taught, subset) for subset in ("validation", "train")),
            *(
                (frames, subset)
                for subset in ("validation", "train")
                for frames in (split, earlier)
            ),
        )
        return {f["digest"]: subset for frames, subset in order for f in frames.get(subset, ())}

    @cached_property
    def trained_digests(self) -> frozenset[str]:
        """The digests of the frames that it, a run that it started from, or a run that taught it
        was trained on."""
        taught = self.read("split.json", *SUBSETS).get(TAUGHT, {}).get("train", ())
        own = (digest for digest, subset in self.subsets.items() if subset == "train")
        return frozenset([*own, *(frame["digest"] for frame in taught)])

    @cached_property
    def fingerprints(self) -> dict[str, np.ndarray]:
        """From the digest of each training or validation frame to its fingerprint, float16
        `(780,)`. Empty for a run of an earlier version."""
        return load_fingerprints(self.path)

    def read(self, name: str, *keys: str) -> Any:
        """Reads one of the run's JSON files.

        Args:
            name: name of the file, such as `"metrics.json"`.
            keys: keys that it must have.

        Returns:
            The content, under today's key names.

        Raises:
            RunError: the file is missing or damaged, or one of `keys` is missing.
        """
        try:
            content = read_json(self.path / name, KINDS.get(name, dict), EARLIER_KEYS.get(name))
            for key in keys:
                if key not in content:
                    raise ValueError(f"{key} is missing")
        except ValueError as error:
            advice = _FIXES.get(name, "train again")
            raise RunError(
                f"{self.path / name}: is missing or damaged ({error}); {advice}"
            ) from None
        return content

    def write(self, name: str, content: Any) -> None:
        """Writes one of the run's JSON files.

        Args:
            name: name of the file.
            content: anything that `json.dumps` accepts.
        """
        write_json(self.path / name, content)


def _both_thresholds(content: dict) -> tuple[Thresholds, Thresholds | None]:
    ungated = content.get("ungated_tuned")
    return _thresholds(content), ungated and replace(_thresholds(ungated), presence=0.0)


def _thresholds(content: dict) -> Thresholds:
    return Thresholds(
        float(content["presence"]),
        float(content["mask"]),
        float(content.get("area", 0.0)),
        tuple(content.get("postprocessing", ())),
    )


def stage_model(model: keras.Model, stage: str) -> keras.Model:
    """The part of a `SharedGate` model that is one stage; another model is returned unchanged."""
    if not isinstance(model.output, dict):
        return model
    return keras.Model(model.inputs[0], model.output[STAGE_OUTPUTS[stage]], name=stage)


def run_of_file(path: Path) -> Run | None:
    """The run that a model file belongs to; `None` if its training frames are not known.

    Args:
        path: a stage in a run folder, or one of its `epochs`; or any other file.
    """
    folder = path.absolute().parent
    if folder.name == EPOCHS:
        folder = folder.parent
    known = all((folder / file).is_file() for file in ("run.json", "split.json"))
    return Run(folder) if known else None


def load_model(path: Path) -> keras.Model:
    """Opens a `.keras` file.

    Args:
        path: the file.

    Returns:
        The model, not compiled.

    Raises:
        RunError: the file is missing, or cannot be loaded.
    """
    if not path.is_file():
        raise RunError(f"{path}: file not found; name a .keras file")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:
        raise RunError(
            f"{path}: cannot be loaded ({type(error).__name__}); train or import it again"
        ) from error
