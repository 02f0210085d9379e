"""The runs that teach another run: which may, and which frames they know."""

import warnings
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.splits import Split
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.runs.folds import FOLDS, open_folds
from nerveceg_tf.runs.run import STAGES, Run
from nerveceg_tf.training.earlier import is_partly_unknown, trained_on

_FILES = (
    *("gate.keras", "segmenter.keras", "shared.keras", "thresholds.json", "split.json"),
    "fingerprints.npz",
)
"""What of a run decides what it teaches, and which frames."""


def open_teachers(paths: Sequence[Path | str], stages: Collection[str]) -> list[Run]:
    """Opens the runs that teach.

    Args:
        paths: folders of runs, or of the folds of a cross-validation.
        stages: the stages that they teach: `"gate"`, `"segmenter"` or both.

    Returns:
        The runs. Those of a cross-validation are its folds.

    Raises:
        RunError: a folder is not one of these, is not finished or is named twice; or a run does not
            have one of the stages.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    teachers: list[Run] = []
    for path in map(Path, paths):
        teachers += open_folds(path) if (path / FOLDS).is_file() else [Run(path)]
    if not teachers:
        raise RunError("teachers: name at least one run")
    known: set[Path] = set()
    for run in teachers:
        if run.path.resolve() in known:
            raise RunError(f"{run.path}: is named twice as a teacher; name it once")
        known.add(run.path.resolve())
        run.check_finished()
        for stage in stages:
            if stage not in run.stages:
                (other,) = set(STAGES) - {stage}
                raise RunError(
                    f"{run.path}: has no {stage}, so it cannot teach one; leave it out"
                    + (f', or pass only="{other}"' if other in run.stages else "")
                )
    return teachers


def hash_teacher(run: Run) -> str:
    """The sha256 of the files of a run that decide what it teaches."""
    content = sha256()
    for path in (run.path / name for name in _FILES):
        if path.is_file():
            content.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return content.hexdigest()


def check_teachers(teachers: Sequence[Run], frames: FrameSet, split: Split) -> None:
    """Checks that no teacher knows what its student holds out.

    Args:
        teachers: the teachers.
        frames: the frames of the student.
        split: their split.

    Raises:
        RunError: a teacher, or a run that it learned from, was trained or validated on a held-out
            frame, or on another one of its subject.

    Warns:
        NervecegWarning: it is not known which frames a teacher was trained on; or it was trained on
            the validation frames.
    """
    seen = np.zeros(len(frames), bool)
    for run in teachers:
        _warn_if_unknown(run)
        seen |= trained_on(run, frames)
        used = trained_on(run, frames, or_validated=True)[split.held_out]
        if used.any():
            frame = frames.frames[split.held_out[np.flatnonzero(used)[0]]]
            whom = (
                f"the frame {frame.name}" if frame.subject is None else f"subject {frame.subject}"
            )
            raise RunError(
                f"{run.path}: it, or a run that it learned from, was trained or validated on {whom}"
                f" or on near-duplicates of it ({used.sum()} of the {len(used)} frames that are"
                " held out), so scores on them would be too good; leave this teacher out, or train"
                " it with hold_out=SUBJECTS"
            )
    validated = seen[split.validation]
    if validated.any():
        _warn(
            f"teachers were trained on {validated.sum()} of the {len(validated)} validation frames,"
            " so scores on these are too good; those on held-out subjects are not"
        )


def _warn_if_unknown(run: Run) -> None:
    digests = run.trained_digests
    if not digests or is_partly_unknown(run.description):
        which = "all of the frames" if digests else "the frames"
        _warn(
            f"{run.path}: does not tell {which} that it was trained on; scores on those that it"
            " does not tell are too good"
        )
    elif not run.fingerprints.keys() >= digests:
        _warn(
            f"{run.path}: lacks the fingerprints of some frames that it was trained on: of"
            " those only identical ones are recognised"
        )


def _warn(text: str) -> None:
    warnings.warn(text, NervecegWarning, stacklevel=5)
