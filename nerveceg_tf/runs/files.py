"""What the JSON files of a run hold, as far as anybody reads them again."""

from typing import Literal, NotRequired, TypedDict

from nerveceg_tf.utils.checked_json import Share


class _Data(TypedDict, total=False):
    folder: str | None
    frames: int
    fingerprint: str


class _Description(TypedDict, total=False):
    """`run.json` of any run; what was combined or made by hand lacks most of it."""

    recipe: dict | None
    only: Literal["gate", "segmenter"] | None
    data: _Data
    plan: str | None
    bad_frames: list[str]
    seconds: float
    finished: bool
    versions: dict


class _DataOfTraining(_Data):
    fingerprint: str


class Training(TypedDict):
    """`run.json` of a training."""

    recipe: dict
    only: Literal["gate", "segmenter"] | None
    data: _DataOfTraining
    plan: str | None
    bad_frames: list[str]
    seconds: float
    finished: bool


class _Frame(TypedDict):
    digest: str


class _Split(TypedDict):
    train: list[_Frame]
    validation: list[_Frame]
    held_out: list[_Frame]
    left_out: NotRequired[list[_Frame]]


class _Choice(TypedDict):
    presence: Share
    mask: Share
    area: NotRequired[Share]


class _Surface(TypedDict):
    presence: list[float]
    mask: list[float]
    area: list[float]
    score: list


class _Thresholds(_Choice):
    cleaning: NotRequired[list[str]]
    segmenter_alone: NotRequired[_Choice | None]
    frames: NotRequired[int]
    surface: NotRequired[_Surface]


class _Metrics(TypedDict, total=False):
    gate_auc: float | None


KINDS = {
    "run.json": _Description,
    "split.json": _Split,
    "thresholds.json": _Thresholds,
    "metrics.json": _Metrics,
}
"""By name of the file; others are any objects."""
