"""Dividing frames into training, validation and held-out parts, by subject and never by frame.

Frames of one subject look alike: a random split by frame puts near-copies on both sides and
promises scores that no new patient will give.
"""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.rows import few
from nerveceg_tf.errors import NervecegWarning, SubjectError

_BLOCKS = 20


@dataclass(frozen=True)
class Split:
    """Positions of frames, as int arrays, such that no subject is on two sides.

    Attributes:
        train: frames to fit on.
        validation: frames to choose epochs and thresholds on; empty if one subject is all there is.
        held_out: frames that nothing may look at before the final score.
    """

    train: np.ndarray
    validation: np.ndarray
    held_out: np.ndarray


def split_by_subject(
    frames: Sequence[Frame],
    present: Sequence[bool] | None = None,
    validation: float = 0.2,
    hold_out: Collection[str] = (),
    seed: int = 0,
    linked_pairs: Collection[tuple[int, int]] = (),
) -> Split:
    """Splits frames by subject, with a like share of nerve frames in training and validation.

    Subjects with a frame that the folder's layout holds out are held out whole.

    Args:
        frames: the frames.
        present: per frame, whether it holds a nerve; balances the sides. Optional.
        validation: share of the frames that are not held out to validate on, above 0 and below 1.
            Subjects stay whole, so that what is given may differ; a note says so where it is far
            from what was asked for.
        hold_out: subjects to hold out.
        seed: decides which subjects validate.
        linked_pairs: positions of pairs of frames that show one scan, whose subjects must be on one
            side. One that is held out takes the other with it.

    Raises:
        SubjectError: there are no frames, a subject to hold out is unknown, or none is left to
            train on.
    """
    split = _split(frames, present, validation, hold_out, seed, linked_pairs)
    _note_if_far(validation, [split])
    return split


def _split(
    frames: Sequence[Frame],
    present: Sequence[bool] | None,
    validation: float,
    hold_out: Collection[str],
    seed: int,
    linked_pairs: Collection[tuple[int, int]],
) -> Split:
    if not 0 < validation < 1:
        raise SubjectError(f"validation share {validation}: pass a number between 0 and 1")
    if not len(frames):
        raise SubjectError("there are no frames to split; add some")
    subjects = get_subjects(frames)
    unknown = sorted(set(hold_out) - set(subjects))
    if unknown:
        known = few(sorted(set(subjects), key=lambda name: (len(name), name)))
        raise SubjectError(
            f"hold-out subject {unknown[0]}: no frame is of it; subjects are {known}"
        )
    held = set(hold_out) | {s for s, f in zip(subjects, frames, strict=True) if f.held_out}
    groups = _joined(frames, subjects, linked_pairs)
    is_held = np.isin(groups, groups[np.isin(subjects, sorted(held))])
    drawn_in = sorted(set(subjects[is_held]) - held)
    if drawn_in:
        warnings.warn(
            f"subjects {', '.join(drawn_in)} share a scan with one that is held out, so they are"
            " held out too",
            NervecegWarning,
            stacklevel=3,
        )
    rest = np.flatnonzero(~is_held)
    if not len(rest):
        raise SubjectError("every subject is held out; leave at least one to train on")
    present = np.zeros(len(frames), bool) if present is None else np.asarray(present, bool)
    most = validation > 0.5  # of the frames validate, in several folds
    k = _BLOCKS if most else round(1 / validation)
    folds = _folds(present[rest], groups[rest], k, seed)
    if folds is None:
        warnings.warn(
            f"only one subject, {subjects[rest[0]]}, is left to train on: there is none to validate"
            " on, so the last epoch is kept and thresholds stay at their defaults",
            NervecegWarning,
            stacklevel=3,
        )
        return Split(rest, rest[:0], np.flatnonzero(is_held))
    if most:
        sizes = np.cumsum([len(fold) for _, fold in folds[:-1]])
        trained = 1 + np.abs(sizes / len(rest) - (1 - validation)).argmin()
        train, valid = (
            np.sort(np.concatenate([fold for _, fold in some]))
            for some in (folds[:trained], folds[trained:])
        )
    else:
        train, valid = _pick_fold(folds, validation)
    return Split(rest[train], rest[valid], np.flatnonzero(is_held))


def _pick_fold(folds: list[tuple], share: float) -> tuple:
    """The first fold of about the share that was asked for, and what is not in it: a subject with a
    third of all frames is worth more on the larger side."""
    sizes = np.array([len(valid) for _, valid in folds]) / sum(map(len, folds[0]))
    fits = np.flatnonzero(sizes <= 1.5 * share)
    return folds[fits[0] if len(fits) else np.abs(sizes - share).argmin()]


def _note_if_far(share: float, splits: Sequence[Split]) -> None:
    """Notes the share of frames that validate where it is far from what was asked for."""
    sizes = [(len(split.train), len(split.validation)) for split in splits]
    given = [valid / (train + valid) for train, valid in sizes if valid]  # without, that is noted
    far = [g for g in given if abs(g - share) > min(share, 1 - share) / 2]
    if far:
        where = f" in {len(far)} of {len(splits)} folds" if len(splits) > 1 else ""
        farthest = max(far, key=lambda g: abs(g - share))
        warnings.warn(
            f"a share of {share:.3g} was to validate, but it is {farthest:.3g}{where}: there are"
            " too few subjects, or too large ones, to come closer",
            NervecegWarning,
            stacklevel=3,
        )


def k_folds_by_subject(
    frames: Sequence[Frame],
    k: int,
    present: Sequence[bool] | None = None,
    seed: int = 0,
    linked_pairs: Collection[tuple[int, int]] = (),
    validation: float = 0.2,
) -> list[Split]:
    """Splits frames into `k` folds by subject; each frame is held out in exactly one of them.

    Validation subjects, with that share of the frames, are taken from the rest of each fold, so
    nothing is tuned on what is scored. What the folder's layout holds out takes part like any other
    frame.

    Raises:
        SubjectError: there are fewer subjects than folds, or fewer than two folds.
    """
    if not len(frames):
        raise SubjectError("there are no frames to split; add some")
    subjects = _joined(frames, get_subjects(frames), linked_pairs)
    count = len(set(subjects))
    if count < 2:
        raise SubjectError(f"{k} folds: all frames are of one subject, {subjects[0]}; add another")
    if not 2 <= k <= count:
        raise SubjectError(f"{k} folds: {count} subjects allow from 2 to {count}")
    labels = np.zeros(len(frames), bool) if present is None else np.asarray(present, bool)
    splits = []
    for rest, held_out in _folds(labels, subjects, k, seed):
        named = [replace(frames[i], subject=str(subjects[i]), held_out=False) for i in rest]
        inner = _split(named, labels[rest], validation, (), seed, ())
        splits.append(Split(rest[inner.train], rest[inner.validation], held_out))
    _note_if_far(validation, splits)
    return splits


def get_subjects(frames: Sequence[Frame]) -> np.ndarray:
    """The subject of each frame, as an array of strings.

    Where a frame's subject is unknown, neighbours in the order of names stand in for one, because
    sweeps are numbered in a row: up to 20 blocks called `unknown 1` and so on. A warning says so,
    since two blocks may still show one person.
    """
    unknown = [i for i, frame in enumerate(frames) if frame.subject is None]
    if unknown:
        warnings.warn(
            f"subjects are unknown for {len(unknown)} of {len(frames)} frames: neighbouring frames"
            " are kept linked_pairs instead, and scores may be too good; name subjects in frames.csv",
            NervecegWarning,
            stacklevel=2,
        )
    blocks = {i: f"unknown {1 + n * _BLOCKS // len(unknown)}" for n, i in enumerate(unknown)}
    return np.array([blocks.get(i, frame.subject) for i, frame in enumerate(frames)])


def _joined(
    frames: Sequence[Frame], subjects: np.ndarray, linked_pairs: Collection[tuple[int, int]]
) -> np.ndarray:
    """For each frame, a name that all subjects which must stay linked_pairs share.

    The frames of one cine stay linked_pairs too, whether its subject is known or not.
    """
    names, of = np.unique(subjects, return_inverse=True)
    cines: dict[Path, int] = {}
    pairs = [*linked_pairs]
    for i, frame in enumerate(frames):
        if frame.index is not None:
            pairs.append((cines.setdefault(frame.image, i), i))
    ends = of[np.array(pairs, int).reshape(-1, 2)].T
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(len(names),) * 2)
    _, group = connected_components(graph, directed=False)
    return names[np.unique(group, return_index=True)[1]][group][of]


def _folds(
    present: np.ndarray, subjects: np.ndarray, k: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """At most `k` folds of positions `(rest, fold)`; `None` for a single subject."""
    k = min(max(k, 2), len(set(subjects)))
    if k < 2:
        return None
    if max(np.bincount(present)) < k:
        present = np.zeros_like(present)  # of so few frames no class can be in every fold
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Fewer nerve frames than folds is for the caller to notice, not for the splitter.
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(present, present, subjects))
