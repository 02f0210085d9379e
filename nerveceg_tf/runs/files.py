"""The contents of a run's JSON files, as far as the package reads them again."""

from typing import Literal, NotRequired, TypedDict

from nerveceg_tf.utils.checked_json import Share


class _Folder(TypedDict, total=False):
    folder: str | None
    frames: int


class _ReadOptions(TypedDict, total=False):
    bits: int | None
    mask_value: Literal["any"] | list[int] | None
    region: bool
    labels: Literal["csv", "mask"] | None


class _Data(_Folder, total=False):
    fingerprint: str
    read_options: _ReadOptions


class _Source(TypedDict):
    file: str
    sha256: str
    run: str | None


class _StartedFrom(TypedDict, total=False):
    gate: _Source
    segmenter: _Source
    shared: _Source


class Teacher(TypedDict):
    """A run that taught another one."""

    run: str
    sha256: str


class UnlabelledFrames(TypedDict):
    """The unlabelled frames that a run was trained on."""

    folder: str
    frames: int
    fingerprint: str


class Taught(TypedDict):
    """How a run was taught."""

    teachers: list[Teacher]
    tta: bool
    teacher_weight: Share
    unlabelled: UnlabelledFrames | None


class _Description(TypedDict, total=False):
    """`run.json` of any run. A combined run does not have most of these keys."""

    recipe: dict | None
    only: Literal["gate", "segmenter"] | None
    data: _Data
    fixes: str | None
    bad_frames: list[str]
    started_from: _StartedFrom
    taught_by: Taught
    seconds: float
    finished: bool
    versions: dict


class _DataOfTraining(_Folder):
    fingerprint: str
    read_options: NotRequired[_ReadOptions]


class Training(TypedDict):
    """`run.json` of a training."""

    recipe: dict
    only: Literal["gate", "segmenter"] | None
    data: _DataOfTraining
    fixes: str | None
    bad_frames: list[str]
    started_from: NotRequired[_StartedFrom]
    taught_by: NotRequired[Taught]
    seconds: float
    finished: bool


class _Frame(TypedDict):
    digest: str


class _Earlier(TypedDict, total=False):
    train: list[_Frame]
    validation: list[_Frame]


class _Split(TypedDict):
    train: list[_Frame]
    validation: list[_Frame]
    held_out: list[_Frame]
    excluded: NotRequired[list[_Frame]]
    earlier: NotRequired[_Earlier]
    taught: NotRequired[_Earlier]


class _Choice(TypedDict):
    presence: Share
    mask: Share
    area: NotRequired[Share]


class _Grid(TypedDict):
    presence: list[float]
    mask: list[float]
    area: list[float]
    score: list


class _Thresholds(_Choice):
    postprocessing: NotRequired[list[str]]
    ungated_tuned: NotRequired[_Choice | None]
    surface: NotRequired[_Grid]  # written by version 0.1; now in threshold_search.json
    frames: NotRequired[int]


class _ThresholdSearch(_Grid):
    frames: int


class _Metrics(TypedDict, total=False):
    gate_auc: float | None


KINDS = {
    "run.json": _Description,
    "split.json": _Split,
    "thresholds.json": _Thresholds,
    "threshold_search.json": _ThresholdSearch,
    "metrics.json": _Metrics,
}
"""The content of each file, by its name. Other files may contain any JSON object."""

EARLIER_KEYS = {
    "run.json": {"plan": "fixes"},
    "split.json": {"left_out": "excluded"},
    "thresholds.json": {
        "cleaning": "postprocessing",
        "segmenter_alone": "ungated_tuned",
        "flat": "tolerance",
    },
    "metrics.json": {
        "part": "subset",
        "left_out": "excluded",
        "best_area_dice": "ungated_tuned_dice",
        "strongest_rival": "strongest_baseline",
    },
}
"""For each file: keys of version 0.1, and their names today."""
