"""What is wrong with a folder of frames and masks, found before anything is trained on it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from nerveceg_tf.data.decode import format_size
from nerveceg_tf.data.frame import Frame, digest, map_frames, read_mask
from nerveceg_tf.data.layouts import find_frames
from nerveceg_tf.data.near_duplicates import (
    DuplicatePair,
    candidates,
    compare,
    fingerprint,
    working_size,
)
from nerveceg_tf.data.resize import resize
from nerveceg_tf.errors import FrameError, NervecegError
from nerveceg_tf.size import Size
from nerveceg_tf.utils.parallel import parallel_map
from nerveceg_tf.utils.progress import track

_MANY = 6
KINDS = {
    "unreadable": "files that cannot be used",
    "unpaired": "frames and masks that do not pair",
    "odd size": "frames of another size than most",
    "duplicate": "equal frames of one subject",
    "contradiction": "frames of one scan whose masks contradict each other",
    "leak": "frames of one scan under two subjects",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: a key of `KINDS`.
        names: the frames it is about, one or two; none for a file that is no frame.
        detail: what is wrong, for people.
        similarity: correlation of two frames once aligned; 1 for equal ones.
        dice: overlap of their masks once aligned, 1 for empty against empty.
        shift: pixels that the second frame is moved down and to the right against the first.
        exact: the two are equal in every pixel.
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
    """A subject's frames: how many, how many without a nerve, and the nerve's median area in
    percent of the frame (`None` without a nerve)."""

    subject: str
    frames: int
    empty: int
    area: float | None


@dataclass(frozen=True)
class Audit:
    """All that was found, and the frames it was found on."""

    folder: Path
    frames: dict[str, Frame] = field(repr=False)
    present: dict[str, bool] = field(repr=False)
    findings: tuple[Finding, ...]
    subjects: tuple[SubjectSummary, ...]

    def of_kind(self, kind: str) -> list[Finding]:
        """The findings of one kind, in order."""
        return [finding for finding in self.findings if finding.kind == kind]

    def as_json(self) -> dict:
        """Everything but the pixels."""
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


def audit(folder: Path | str, min_dice: float = 0.5) -> Audit:
    """Reads every frame of a folder once and lists what is wrong with it. Nothing is changed.

    Args:
        folder: a folder that `find_frames` understands; what it would refuse becomes a finding.
        min_dice: masks of one scan that overlap less contradict each other, as one with a nerve
            and one without do.

    Raises:
        LayoutError: the folder is missing, or holds no frames.
    """
    folder, findings = Path(folder), []

    def unpaired(error: NervecegError) -> None:
        kind = "unreadable" if isinstance(error, FrameError) else "unpaired"
        findings.append(Finding(kind, (), str(error)))

    frames = find_frames(folder, unpaired)
    if not frames and not findings:
        find_frames(folder)  # says what it expected
    outcomes = track(map_frames(_inspect, frames), "reading frames", len(frames))
    records = []
    for frame, outcome in zip(frames, outcomes, strict=True):
        if isinstance(outcome, FrameError):
            findings.append(Finding("unreadable", (frame.name,), str(outcome)))
        else:
            records.append(outcome)
    findings += _odd_sizes(records)
    findings += _duplicate_findings(records, min_dice)
    order = list(KINDS)
    findings.sort(key=lambda f: (order.index(f.kind), -(f.similarity or 0)))
    return Audit(
        folder,
        {frame.name: frame for frame in frames},
        {r.frame.name: r.area > 0 for r in records},
        tuple(findings),
        tuple(_subjects(records)),
    )


def _inspect(frame: Frame, read: Callable[[], np.ndarray]) -> _Record | FrameError:
    try:
        image = read()
        mask = read_mask(frame, image.shape)
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
    )


def _odd_sizes(records: Sequence[_Record]) -> list[Finding]:
    counts = Counter(record.size for record in records)
    if len(counts) < 2:
        return []
    usual, count = counts.most_common(1)[0]
    if count <= len(records) / 2:
        return []  # a collection of many sizes, of which none is odd
    return [
        Finding(
            "odd size",
            (r.frame.name,),
            f"{format_size(r.size)}, where most are {format_size(usual)}",
        )
        for r in records
        if r.size != usual
    ]


def _duplicate_findings(records: Sequence[_Record], min_dice: float) -> list[Finding]:
    exact = defaultdict(list)
    for position, record in enumerate(records):
        exact[record.digest].append(position)
    equal = [DuplicatePair(*pair, 1.0, (0.0, 0.0)) for g in exact.values() for pair in _pairs(g)]

    def wanted(one: int, other: int) -> bool:
        a, b = records[one], records[other]
        if a.digest == b.digest:
            return False
        return _two_subjects(a, b) or _disagree(a, b, min_dice)

    if len(records) < 2:
        return []
    pairs = candidates(np.stack([record.fingerprint for record in records]), wanted)
    compared = parallel_map(
        lambda pair: compare(records[pair[0]].small, records[pair[1]].small, *pair), pairs
    )
    near = [pair for pair in track(compared, "comparing frames", len(pairs)) if pair]
    findings = []
    for pair in (*equal, *near):
        findings += _judge(pair, records[pair.one], records[pair.other], min_dice)
    return findings


def _pairs(equal: list[int]) -> list[tuple[int, int]]:
    """All pairs of equal frames; of many, each with the first, or nobody could read them all."""
    if len(equal) <= _MANY:
        return list(combinations(equal, 2))
    return [(equal[0], other) for other in equal[1:]]


def _judge(pair: DuplicatePair, a: _Record, b: _Record, min_dice: float) -> list[Finding]:
    exact = a.digest == b.digest
    shift = tuple(round(share * side) for share, side in zip(pair.shift, a.size, strict=True))
    dice = _dice(a, b, pair.shift)
    names = (a.frame.name, b.frame.name)
    scores = {"similarity": pair.similarity, "dice": dice, "shift": shift, "exact": exact}
    alike = "equal frames" if exact else "one scan" + _moved(shift)
    findings = []
    if bool(a.area) != bool(b.area):
        with_nerve = names[0] if a.area else names[1]
        detail = f"{alike}; only {with_nerve} has a nerve"
        findings.append(Finding("contradiction", names, detail, **scores))
    elif dice < min_dice:
        detail = f"{alike}; their masks overlap by a Dice of {dice:.2f}"
        findings.append(Finding("contradiction", names, detail, **scores))
    elif exact and not _two_subjects(a, b):
        detail = alike if dice > 0.99 else f"{alike}; their masks overlap by a Dice of {dice:.2f}"
        findings.append(Finding("duplicate", names, detail, **scores))
    if _two_subjects(a, b):
        detail = f"{alike}; subjects {a.frame.subject} and {b.frame.subject}"
        findings.append(Finding("leak", names, detail, **scores))
    return findings


def _moved(shift: tuple[int, int]) -> str:
    down, right = shift
    return f", moved {right} pixels right and {down} down" if any(shift) else ""


def _two_subjects(a: _Record, b: _Record) -> bool:
    subjects = {a.frame.subject, b.frame.subject}
    return len(subjects) == 2 and None not in subjects


def _disagree(a: _Record, b: _Record, min_dice: float) -> bool:
    return bool(a.area) != bool(b.area) or _dice(a, b) < min_dice


def _dice(a: _Record, b: _Record, shift: tuple[float, float] = (0.0, 0.0)) -> float:
    """Overlap of two masks, the second moved back by `shift`; 1 for empty against empty."""
    if a.small.shape != b.small.shape:
        return 1.0
    one, other = (np.unpackbits(r.mask)[: r.small.size].reshape(r.small.shape) for r in (a, b))
    moves = [-round(share * side) for share, side in zip(shift, other.shape, strict=True)]
    other = np.roll(other, moves, axis=(0, 1))
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def _subjects(records: Sequence[_Record]) -> list[SubjectSummary]:
    found = defaultdict(list)
    for record in records:
        found[record.frame.subject or "unknown"].append(record.area)

    def order(subject: str) -> tuple:
        return (not subject.isdigit(), int(subject) if subject.isdigit() else 0, subject)

    summaries = []
    for subject in sorted(found, key=order):
        areas = np.array(found[subject])
        nerve = areas[areas > 0]
        area = round(float(np.median(nerve)) * 100, 3) if len(nerve) else None
        summaries.append(SubjectSummary(subject, len(areas), int((areas == 0).sum()), area))
    return summaries
