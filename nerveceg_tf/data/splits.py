"""Splits frames into training, validation and held-out subsets, by subject and never by frame.

Frames of one subject look alike. A random split by frame would put near-duplicates in two subsets,
and the scores would be better than the scores on new patients.
"""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from nerveceg_tf.data.folders.rows import list_few
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.errors import NervecegWarning, SubjectError

_BLOCKS = 20


@dataclass(frozen=True)
class Split:
    """Positions of frames in three subsets. No subject is in two subsets.

    Attributes:
        train: int `(a,)`, frames to train on.
        validation: int `(b,)`, frames to choose the epoch and the thresholds on; empty if only one
            subject is left to train on.
        held_out: int `(c,)`, frames that are used for the final score only.
    """

    train: np.ndarray
    validation: np.ndarray
    held_out: np.ndarray


def split_by_subject(
    frames: Sequence[Frame],
    present: npt.ArrayLike | None = None,
    validation_fraction: float = 0.2,
    hold_out: Collection[str] = (),
    seed: int = 0,
    linked_pairs: Collection[tuple[int, int]] = (),
) -> Split:
    """Splits frames by subject into training, validation and held-out frames.

    If one frame of a subject has `held_out=True`, all frames of the subject are held out.

    Args:
        frames: `n` frames.
        present: bool `(n,)`, whether a frame contains a nerve. If given, training and validation
            get similar fractions of nerve frames.
        validation_fraction: fraction of the frames for validation, of those that are not held out,
            above 0 and below 1. Subjects are not divided, so the actual fraction may differ; a
            warning reports a large difference.
        hold_out: subjects to hold out.
        seed: int, selects the validation subjects.
        linked_pairs: pairs of positions, 0..n-1, of frames that show the same scan. Their subjects
            are put in the same subset. If one of them is held out, so is the other.

    Returns:
        The positions of the frames in each subset.

    Raises:
        SubjectError: there are no frames, `validation_fraction` is out of range, a subject of
            `hold_out` has no frames, or no subject is left to train on.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> frames = find_frames(SAMPLES)
        >>> split = split_by_subject(frames, hold_out=["1", "2"])
        >>> [frames[i].name for i in split.held_out]
        ['1_1', '1_2', '2_1', '2_2']
        >>> len(split.train), len(split.validation)
        (92, 24)
    """
    split = _split(frames, present, validation_fraction, hold_out, seed, linked_pairs)
    _warn_if_far(validation_fraction, [split])
    return split


def _split(
    frames: Sequence[Frame],
    present: npt.ArrayLike | None,
    validation_fraction: float,
    hold_out: Collection[str],
    seed: int,
    linked_pairs: Collection[tuple[int, int]],
) -> Split:
    if not 0 < validation_fraction < 1:
        raise SubjectError(
            f"validation_fraction={validation_fraction}: pass a number between 0 and 1"
        )
    if not len(frames):
        raise SubjectError("there are no frames to split; add some")
    subjects = get_subjects(frames)
    _check_known(hold_out, subjects)
    held = set(hold_out) | {s for s, f in zip(subjects, frames, strict=True) if f.held_out}
    groups = _group_subjects(frames, subjects, linked_pairs)
    is_held = _is_held(subjects, groups, held)
    rest = np.flatnonzero(~is_held)
    labels = np.zeros(len(frames), bool) if present is None else np.asarray(present, bool)
    # One fold has at most half of the frames, so a larger fraction needs several folds.
    several = validation_fraction > 0.5
    k = _BLOCKS if several else round(1 / validation_fraction)
    folds = _folds(labels[rest], groups[rest], k, seed)
    if not folds:
        warnings.warn(
            f"only one subject, {subjects[rest[0]]}, is left to train on: there is no subject for"
            " validation, so the last epoch is used and thresholds stay at their defaults",
            NervecegWarning,
            stacklevel=3,
        )
        return Split(rest, rest[:0], np.flatnonzero(is_held))
    if several:
        sizes = np.cumsum([len(fold) for _, fold in folds[:-1]])
        trained = 1 + np.abs(sizes / len(rest) - (1 - validation_fraction)).argmin()
        train, valid = (
            np.sort(np.concatenate([fold for _, fold in selected]))
            for selected in (folds[:trained], folds[trained:])
        )
    else:
        train, valid = _pick_fold(folds, validation_fraction)
    return Split(rest[train], rest[valid], np.flatnonzero(is_held))


def _check_known(hold_out: Collection[str], subjects: np.ndarray) -> None:
    if isinstance(hold_out, str):
        raise SubjectError(f'hold_out="{hold_out}": pass a list of subjects, ["{hold_out}"]')
    unknown = sorted(set(hold_out) - set(subjects))
    if unknown:
        known = list_few(sorted(set(subjects), key=lambda name: (len(name), name)))
        raise SubjectError(f"hold-out subject {unknown[0]}: has no frames; subjects are {known}")


def _is_held(subjects: np.ndarray, groups: np.ndarray, held: Collection[str]) -> np.ndarray:
    """Which frames are of a subject to hold out, or of one that shares a scan with it."""
    is_held = np.isin(groups, groups[np.isin(subjects, sorted(held))])
    also_held = sorted(set(subjects[is_held]) - set(held))
    if also_held:
        warnings.warn(
            f"subjects {', '.join(also_held)} share a scan with a held-out subject, so they are"
            " held out too",
            NervecegWarning,
            stacklevel=4,
        )
    if is_held.all():
        raise SubjectError("every subject is held out; leave at least one to train on")
    return is_held


def _pick_fold(folds: list[tuple], fraction: float) -> tuple:
    """Picks the first fold whose size is not much above the requested fraction.

    A subject with a third of all frames should be trained on, so larger folds are passed over.
    """
    sizes = np.array([len(valid) for _, valid in folds]) / sum(map(len, folds[0]))
    fits = np.flatnonzero(sizes <= 1.5 * fraction)
    return folds[fits[0] if len(fits) else np.abs(sizes - fraction).argmin()]


def _warn_if_far(fraction: float, splits: Sequence[Split]) -> None:
    """Warns if the fraction of validation frames is far from the requested one."""
    sizes = [(len(split.train), len(split.validation)) for split in splits]
    # A split without validation frames has a warning of its own.
    actual = [valid / (train + valid) for train, valid in sizes if valid]
    far = [f for f in actual if abs(f - fraction) > min(fraction, 1 - fraction) / 2]
    if far:
        where = f" in {len(far)} of {len(splits)} folds" if len(splits) > 1 else ""
        farthest = max(far, key=lambda f: abs(f - fraction))
        warnings.warn(
            f"the validation fraction is {farthest:.3g} instead of {fraction:.3g}{where}: there are"
            " too few subjects, or some have too many frames",
            NervecegWarning,
            stacklevel=3,
        )


def k_folds_by_subject(
    frames: Sequence[Frame],
    k: int,
    present: npt.ArrayLike | None = None,
    seed: int = 0,
    linked_pairs: Collection[tuple[int, int]] = (),
    validation_fraction: float = 0.2,
    hold_out: Collection[str] = (),
) -> list[Split]:
    """Splits frames into `k` folds by subject. Each frame is held out in exactly one fold.

    The validation subjects of a fold are taken from the frames that it does not hold out, so
    nothing is tuned on the frames that are scored. The frames of `hold_out` are in no fold.
    `Frame.held_out` is ignored.

    Args:
        frames: `n` frames.
        k: number of folds, from 2 to the number of subjects.
        present: bool `(n,)`, whether a frame contains a nerve. If given, the subsets get similar
            fractions of nerve frames.
        seed: int, selects the subjects of each fold.
        linked_pairs: pairs of positions, 0..n-1, of frames that show the same scan. Their subjects
            are put in the same subset.
        validation_fraction: fraction of the frames for validation, of those that a fold does not
            hold out, above 0 and below 1.
        hold_out: subjects to use in no fold, not even to score it.

    Returns:
        One `Split` per fold.

    Raises:
        SubjectError: there are no frames, `validation_fraction` is out of range, or there are fewer
            than two folds or fewer subjects than folds; or a subject of `hold_out` has no frames.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> from nerveceg_tf.data.folders.layouts import find_frames
        >>> splits = k_folds_by_subject(find_frames(SAMPLES), 3)
        >>> sum(len(split.held_out) for split in splits)
        120
    """
    if not len(frames):
        raise SubjectError("there are no frames to split; add some")
    names = get_subjects(frames)
    _check_known(hold_out, names)
    groups = _group_subjects(frames, names, linked_pairs)
    used = np.flatnonzero(~_is_held(names, groups, hold_out))
    subjects = groups[used]
    count = len(set(subjects))
    if count < 2:
        raise SubjectError(f"{k} folds: all frames are of one subject, {subjects[0]}; add another")
    if not 2 <= k <= count:
        raise SubjectError(f"{k} folds: {count} subjects allow from 2 to {count}")
    labels = np.zeros(len(frames), bool) if present is None else np.asarray(present, bool)
    splits = []
    for in_rest, in_fold in _folds(labels[used], subjects, k, seed):
        rest = used[in_rest]
        named = [replace(frames[i], subject=str(groups[i]), held_out=False) for i in rest]
        inner = _split(named, labels[rest], validation_fraction, (), seed, ())
        splits.append(Split(rest[inner.train], rest[inner.validation], used[in_fold]))
    _warn_if_far(validation_fraction, splits)
    return splits


def get_subjects(frames: Sequence[Frame]) -> np.ndarray:
    """Returns the subject of each frame.

    Frames without a subject are divided into up to 20 blocks of neighbouring frames, named
    `unknown 1`, `unknown 2` and so on, because the frames of a sweep are usually numbered in order.
    A warning reports this, because two blocks may still show the same person.

    Args:
        frames: `n` frames.

    Returns:
        str `(n,)`.
    """
    unknown = [i for i, frame in enumerate(frames) if frame.subject is None]
    if unknown:
        warnings.warn(
            f"subjects are unknown for {len(unknown)} of {len(frames)} frames: neighbouring frames"
            " are kept together instead, and scores may be too good; name subjects in frames.csv"
            " (columns name,subject)",
            NervecegWarning,
            stacklevel=2,
        )
    blocks = {i: f"unknown {1 + n * _BLOCKS // len(unknown)}" for n, i in enumerate(unknown)}
    return np.array([blocks.get(i, frame.subject) for i, frame in enumerate(frames)])


def _group_subjects(
    frames: Sequence[Frame], subjects: np.ndarray, linked_pairs: Collection[tuple[int, int]]
) -> np.ndarray:
    """Returns for each frame the name of its group: the subjects that must stay together.

    The frames of one cine stay together too, even if its subject is unknown.
    """
    names, subject_ids = np.unique(subjects, return_inverse=True)
    cines: dict[Path, int] = {}
    pairs = [*linked_pairs]
    for i, frame in enumerate(frames):
        if frame.index is not None:
            pairs.append((cines.setdefault(frame.image, i), i))
    ends = subject_ids[np.array(pairs, int).reshape(-1, 2)].T
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(len(names),) * 2)
    _, group = connected_components(graph, directed=False)
    return names[np.unique(group, return_index=True)[1]][group][subject_ids]


def _folds(
    present: np.ndarray, subjects: np.ndarray, k: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns up to `k` pairs of positions `(rest, fold)`; none if there is only one subject."""
    k = min(max(k, 2), len(set(subjects)))
    if k < 2:
        return []
    if max(np.bincount(present)) < k:
        present = np.zeros_like(present)  # too few frames to have a class in every fold
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # scikit-learn warns if a class has fewer frames than folds. Callers check this.
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(present, present, subjects))
