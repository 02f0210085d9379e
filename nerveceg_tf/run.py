"""What one training leaves on disk, and how it is opened again.

A run is a folder: `run.json` (recipe, versions, data, seed), `split.json` (which frames were
trained and validated on, by name, subject and pixels), `gate.keras`, `segmenter.keras`,
`thresholds.json`, `metrics.json` and `history.csv`. Every file is written under a temporary name
and renamed, so that a killed process leaves either the old file or the new one.
"""

import json
import platform
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from nerveceg_tf.errors import RunError
from nerveceg_tf.files import check_free, replacing, write_json
from nerveceg_tf.models import GateAlone, NerveCeg, NoGate
from nerveceg_tf.models.two_stage import uncompiled

STAGES = ("gate", "segmenter")
PARTS = ("train", "validation", "held_out")


@dataclass(frozen=True)
class Thresholds:
    """Where presence and mask probabilities become yes or no.

    Attributes:
        presence: presence below it gives an empty mask.
        mask: probability from which a pixel counts as nerve.
    """

    presence: float = 0.5
    mask: float = 0.5


class Run:
    """A run folder.

    Args:
        path: the folder, made by `Run.create`.

    Raises:
        RunError: there is no run there.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not (self.path / "run.json").is_file():
            raise RunError(
                f"{self.path}: is no run (it has no run.json); make one with nerveceg train"
            )

    @classmethod
    def create(cls, path: Path | str, description: dict[str, Any], force: bool = False) -> "Run":
        """Makes the folder and its `run.json`.

        Args:
            path: the folder to make; it must not hold anything unless `force`.
            description: what `run.json` says, beside the versions of the software.
            force: empty the folder first, if it is a run.
        """
        path = Path(path)
        check_free(path, "run.json", force)
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        packages = ("nerveceg_tf", "tensorflow", "keras", "numpy", "opencv-python-headless")
        versions = {"python": platform.python_version(), **{p: version(p) for p in packages}}
        write_json(path / "run.json", {**description, "versions": versions})
        return cls(path)

    @property
    def description(self) -> dict[str, Any]:
        """The content of `run.json`."""
        return self.read("run.json")

    def describe(self, **facts: Any) -> None:
        """Adds to `run.json`."""
        self.write("run.json", {**self.description, **facts})

    @property
    def stages(self) -> tuple[str, ...]:
        """Which of `"gate"` and `"segmenter"` the run has."""
        return tuple(stage for stage in STAGES if (self.path / f"{stage}.keras").is_file())

    def load(self, stage: str) -> keras.Model:
        """Loads one stage.

        Raises:
            RunError: the run lacks it, or its file is damaged.
        """
        path = self.path / f"{stage}.keras"
        if not path.is_file():
            raise RunError(
                f"{self.path}: has no {stage}; train one, or combine it with a run that has"
            )
        try:
            return keras.models.load_model(path, compile=False)
        except Exception as error:
            raise RunError(
                f"{path}: cannot be loaded ({type(error).__name__}); train again"
            ) from error

    def model(self) -> keras.Model:
        """The stages that the run has as one model, with the run's thresholds.

        Returns:
            `NerveCeg`; without a gate its presence is always 1. Without a segmenter, a model that
            gives `presence` alone.
        """
        if self.stages == ("gate",):
            return GateAlone(self.load("gate"))
        segmenter, thresholds = self.load("segmenter"), self.thresholds
        gate = self.load("gate") if "gate" in self.stages else NoGate()
        return NerveCeg(gate, segmenter, thresholds.presence, thresholds.mask)

    def save(self, stage: str, model: keras.Model) -> None:
        """Saves one stage, without the state of its optimizer."""
        with replacing(self.path / f"{stage}.keras") as temporary:
            uncompiled(model).save(temporary)

    @property
    def thresholds(self) -> Thresholds:
        """The run's thresholds, or the defaults where none were tuned."""
        if not (self.path / "thresholds.json").is_file():
            return Thresholds()
        content = self.read("thresholds.json")
        return Thresholds(content["presence"], content["mask"])

    @thresholds.setter
    def thresholds(self, value: Thresholds) -> None:
        self.write("thresholds.json", asdict(value))

    @cached_property
    def parts(self) -> dict[str, str]:
        """Fingerprint of each frame that the run knows, to `train`, `validation` or `held_out`."""
        split = self.read("split.json")
        # The last wins: a frame that any stage was trained on counts as trained on.
        return {f["digest"]: part for part in reversed(PARTS) for f in split[part]}

    def read(self, name: str) -> Any:
        """Reads one of the run's JSON files."""
        try:
            return json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError):
            raise RunError(f"{self.path / name}: is missing or damaged; train again") from None

    def write(self, name: str, content: Any) -> None:
        """Writes one of the run's JSON files."""
        write_json(self.path / name, content)


def combine(gate_run: Run, segmenter_run: Run, out: Path | str, force: bool = False) -> Run:
    """Makes a run of the gate of one and the segmenter of another, trained on whatever data.

    A frame that either was trained on counts as trained on.

    Raises:
        RunError: a run lacks its stage, or `out` is in the way.
    """
    stages = {"gate": gate_run, "segmenter": segmenter_run}
    models = {stage: run.load(stage) for stage, run in stages.items()}
    sources = {stage: {"run": str(r.path), **r.description} for stage, r in stages.items()}
    run = Run.create(out, {"combined_from": sources}, force)
    splits = [source.read("split.json") for source in stages.values()]
    run.write("split.json", {part: [f for s in splits for f in s[part]] for part in PARTS})
    for stage, model in models.items():
        run.save(stage, model)
    run.thresholds = Thresholds(gate_run.thresholds.presence, segmenter_run.thresholds.mask)
    return run
