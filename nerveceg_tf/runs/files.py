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
    fixes: str | None
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
    fixes: str | None
    bad_frames: list[str]
    seconds: float
    finished: bool


class _Frame(TypedDict):
    digest: str


class _Split(TypedDict):
    train: list[_Frame]
    validation: list[_Frame]
    held_out: list[_Frame]
    excluded: NotRequired[list[_Frame]]


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
    surface: NotRequired[_Grid]  # of version 0.1; now in threshold_search.json
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
"""By name of the file; others are any objects."""

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
"""For each file, what version 0.1 called some keys."""
