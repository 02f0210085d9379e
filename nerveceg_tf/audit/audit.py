"""Finds errors in a folder of frames and masks before a model is trained on it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import Frame, digest, map_frames, note_unused_mask_value
from nerveceg_tf.data.near_duplicates import (
    DuplicatePair,
    candidates,
    compare,
    fingerprint,
    working_size,
)
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.data.resize import resize
from nerveceg_tf.data.truth import annotated_mask, contradicts, has_nerve
from nerveceg_tf.errors import FrameError, NervecegError
from nerveceg_tf.size import Size, format_size
from nerveceg_tf.utils.parallel import parallel_map
from nerveceg_tf.utils.progress import track

_MANY = 6
_LARGE = 0.5  # of the frame; a nerve is far smaller
KINDS = {
    "unreadable": "files that cannot be used",
    "unpaired": "frames and masks that do not pair",
    "odd size": "frames of another size than most",
    "inverted": "masks that may have nerve and background the wrong way round",
    "label": "labels that contradict their masks",
    "duplicate": "identical frames of one subject",
    "contradiction": "frames of one scan whose masks contradict each other",
    "leak": "frames of one scan under two subjects",
}
"""The kinds of findings and their titles, in the order of the page."""


@dataclass(frozen=True)
class Finding:
    """One error in the data.

    Attributes:
        kind: a key of `KINDS`.
        names: names of the one or two frames concerned; empty for a file that is not a frame.
        detail: description of the error.
        similarity: correlation of two frames after alignment, at most 1; 1 for identical frames.
        dice: Dice of their masks after alignment, 0..1; 1 if both masks are empty.
        shift: shift of the second frame relative to the first, down and to the right, in pixels.
        exact: the two frames are identical in every pixel.
    """

    kind: str
    names: tuple[str, ...]
    detail: str
    similarity: float | None = None
    dice: float | None = None
    shift: tuple[int, int] = (0, 0)
    exact: bool = False


@dataclass(frozen=True)
class SubjectSummary:
    """Statistics of the frames of one subject.

    Attributes:
        subject: name of the subject; `"unknown"` for all frames without a subject.
        frames: number of frames.
        empty: number of frames without a nerve.
        area: median area of the nerve in percent of the frame; `None` without a nerve.
    """

    subject: str
    frames: int
    empty: int
    area: float | None


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        folder: the data folder.
        frames: the frames by name.
        present: for each readable frame, whether it has a nerve, by name: by its mask, or by its
            label if it has no mask.
        findings: the errors, in the order of `KINDS`.
        subjects: statistics of each subject.
    """

    folder: Path
    frames: dict[str, Frame] = field(repr=False)
    present: dict[str, bool] = field(repr=False)
    findings: tuple[Finding, ...]
    subjects: tuple[SubjectSummary, ...]

    def of_kind(self, kind: str) -> list[Finding]:
        """Returns the findings of one kind, a key of `KINDS`, in order."""
        return [finding for finding in self.findings if finding.kind == kind]

    def as_json(self) -> dict:
        """Returns the counts, findings and subjects as a dict that can be written as JSON."""
        empty = sum(subject.empty for subject in self.subjects)
        return {
            "folder": str(self.folder),
            "frames": len(self.present),
            "empty_masks": empty,
            "counts": {kind: len(self.of_kind(kind)) for kind in KINDS},
            "findings": [asdict(finding) for finding in self.findings],
            "subjects": [asdict(subject) for subject in self.subjects],
        }


@dataclass(frozen=True)
class _Record:
    frame: Frame
    size: Size
    small: np.ndarray
    mask: np.ndarray
    fingerprint: np.ndarray
    digest: str
    area: float
    border: bool

    @property
    def present(self) -> bool:
        """Whether the frame has a nerve: by its mask, or by its label if it has no mask."""
        return has_nerve(self.frame, self.area > 0)


def audit_frames(
    folder: Path | str, min_dice: float = 0.5, options: ReadOptions = AS_DECLARED
) -> Audit:
    """Reads every frame of a folder once and lists all errors. No file is changed.

    Args:
        folder: a folder in a layout of `find_frames`. Errors that `find_frames` would raise become
            findings.
        min_dice: minimum Dice of the masks of two frames of one scan, 0..1. A lower overlap is a
            contradiction. A mask with a nerve always contradicts an empty mask.
        options: how to read the files.

    Returns:
        The findings, the frames and the statistics of the subjects.

    Raises:
        LayoutError: the folder is missing, or contains no frames.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> audit = audit_frames(SAMPLES / "test")  # eight frames without masks
        >>> len(audit.findings), audit.findings[0].kind
        (8, 'unpaired')
    """
    folder, findings = Path(folder), []

    def unpaired(error: NervecegError) -> None:
        kind = "unreadable" if isinstance(error, FrameError) else "unpaired"
        findings.append(Finding(kind, (), str(error)))

    options = replace(options, labels=None)  # the audit finds what contradicts the masks
    frames = find_frames(folder, unpaired, options, need_masks=False)
    if not frames and not findings:
        find_frames(folder)  # raises the error that describes the layouts
    outcomes = track(map_frames(_inspect, frames), "reading frames", len(frames))
    records = []
    for frame, outcome in zip(frames, outcomes, strict=True):
        if isinstance(outcome, FrameError):
            findings.append(Finding("unreadable", (frame.name,), str(outcome)))
        else:
            records.append(outcome)
    note_unused_mask_value([r.frame for r in records], [r.area > 0 for r in records])
    findings += _without_mask(frames)
    findings += _odd_sizes(records)
    findings += _inverted(records)
    findings += _wrong_labels(records)
    findings += _duplicate_findings(records, min_dice)
    order = list(KINDS)
    findings.sort(key=lambda f: (order.index(f.kind), -(f.similarity or 0)))
    return Audit(
        folder,
        {frame.name: frame for frame in frames},
        {r.frame.name: r.present for r in records},
        tuple(findings),
        tuple(_subjects(records)),
    )


def _inspect(frame: Frame, read: Callable[[], np.ndarray]) -> _Record | FrameError:
    try:
        image = read()
        mask = annotated_mask(frame, image.shape)
    except FrameError as error:
        return error
    size = working_size(image.shape)
    return _Record(
        frame,
        image.shape,
        resize(image, size),
        np.packbits(resize(mask * 255, size) > 127),
        fingerprint(image),
        digest(image),
        float(mask.mean()),
        all(edge.all() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])),
    )


def _without_mask(frames: Sequence[Frame]) -> list[Finding]:
    """Lists frames that have only a label, if others have a mask."""
    if all(frame.mask is None for frame in frames):
        return []  # a set for a gate
    return [
        Finding("unpaired", (frame.name,), "has only a label, but other frames have masks")
        for frame in frames
        if frame.mask is None
    ]


def _odd_sizes(records: Sequence[_Record]) -> list[Finding]:
    counts = Counter(record.size for record in records)
    if len(counts) < 2:
        return []
    usual, count = counts.most_common(1)[0]
    if count <= len(records) / 2:
        return []  # no size has a majority, so no size is odd
    return [
        Finding(
            "odd size",
            (r.frame.name,),
            f"{format_size(r.size)}; most frames are {format_size(usual)}",
        )
        for r in records
        if r.size != usual
    ]


def _inverted(records: Sequence[_Record]) -> list[Finding]:
    """Lists masks whose border is all nerve, and large masks if most masks are large."""
    most_are_large = sum(r.area > _LARGE for r in records) > len(records) / 2
    findings = []
    for r in records:
        if r.border or (most_are_large and r.area > _LARGE):
            where = "the whole border of the mask" if r.border else f"{r.area:.0%} of the frame"
            detail = f"{where} is nerve; are the colours the wrong way round?"
            findings.append(Finding("inverted", (r.frame.name,), detail))
    return findings


def _wrong_labels(records: Sequence[_Record]) -> list[Finding]:
    findings = []
    for r in records:
        if contradicts(r.frame, r.area > 0):
            mask = f"{r.area:.2%} of its mask is nerve" if r.area else "its mask is empty"
            detail = f"label {int(not r.area)}, but {mask}"
            findings.append(Finding("label", (r.frame.name,), detail))
    return findings


def _duplicate_findings(records: Sequence[_Record], min_dice: float) -> list[Finding]:
    exact = defaultdict(list)
    for position, record in enumerate(records):
        exact[record.digest].append(position)
    equal = [DuplicatePair(*pair, 1.0, (0.0, 0.0)) for g in exact.values() for pair in _pairs(g)]

    def is_relevant(one: int, other: int) -> bool:
        a, b = records[one], records[other]
        if a.digest == b.digest:
            return False
        return _two_subjects(a, b) or _disagree(a, b, min_dice)

    if len(records) < 2:
        return []
    pairs = candidates(np.stack([record.fingerprint for record in records]), is_relevant)
    compared = parallel_map(
        lambda pair: compare(records[pair[0]].small, records[pair[1]].small, *pair), pairs
    )
    near = [pair for pair in track(compared, "comparing frames", len(pairs)) if pair]
    findings = []
    for pair in (*equal, *near):
        findings += _judge(pair, records[pair.one], records[pair.other], min_dice)
    return findings


def _pairs(equal: list[int]) -> list[tuple[int, int]]:
    """Lists all pairs of identical frames; if there are many frames, each one with the first."""
    if len(equal) <= _MANY:
        return list(combinations(equal, 2))
    return [(equal[0], other) for other in equal[1:]]


def _judge(pair: DuplicatePair, a: _Record, b: _Record, min_dice: float) -> list[Finding]:
    exact = a.digest == b.digest
    down, right = (round(f * side) for f, side in zip(pair.shift, a.size, strict=True))
    shift = (down, right)
    dice = _dice(a, b, pair.shift)
    names = (a.frame.name, b.frame.name)
    relation = "identical frames" if exact else "one scan" + _format_shift(shift)
    findings: list[Finding] = []

    def add(kind: str, detail: str) -> None:
        findings.append(Finding(kind, names, detail, pair.similarity, dice, shift, exact))

    if a.present != b.present:
        with_nerve = names[0] if a.present else names[1]
        add("contradiction", f"{relation}; only {with_nerve} has a nerve")
    elif dice < min_dice:
        add("contradiction", f"{relation}; the Dice of their masks is {dice:.2f}")
    elif exact and not _two_subjects(a, b):
        detail = relation if dice > 0.99 else f"{relation}; the Dice of their masks is {dice:.2f}"
        add("duplicate", detail)
    if _two_subjects(a, b):
        add("leak", f"{relation}; subjects {a.frame.subject} and {b.frame.subject}")
    return findings


def _format_shift(shift: tuple[int, int]) -> str:
    down, right = shift
    return f", shifted by {right} pixels right and {down} down" if any(shift) else ""


def _two_subjects(a: _Record, b: _Record) -> bool:
    subjects = {a.frame.subject, b.frame.subject}
    return len(subjects) == 2 and None not in subjects


def _disagree(a: _Record, b: _Record, min_dice: float) -> bool:
    return a.present != b.present or _dice(a, b) < min_dice


def _dice(a: _Record, b: _Record, shift: tuple[float, float] = (0.0, 0.0)) -> float:
    """Computes the Dice of two masks after alignment; 1 if both are empty, or one is missing."""
    if a.small.shape != b.small.shape or None in (a.frame.mask, b.frame.mask):
        return 1.0
    one, other = (np.unpackbits(r.mask)[: r.small.size].reshape(r.small.shape) for r in (a, b))
    offsets = [-round(f * side) for f, side in zip(shift, b.small.shape, strict=True)]
    other = np.roll(other, offsets, axis=(0, 1))
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def _subjects(records: Sequence[_Record]) -> list[SubjectSummary]:
    by_subject = defaultdict(list)
    for record in records:
        by_subject[record.frame.subject or "unknown"].append(record)

    def order(subject: str) -> tuple:
        return (not subject.isdigit(), int(subject) if subject.isdigit() else 0, subject)

    summaries = []
    for subject in sorted(by_subject, key=order):
        own = by_subject[subject]
        nerve = np.array([record.area for record in own if record.area])
        area = round(float(np.median(nerve)) * 100, 3) if len(nerve) else None
        empty = sum(not record.present for record in own)
        summaries.append(SubjectSummary(subject, len(own), empty, area))
    return summaries
