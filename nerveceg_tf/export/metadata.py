"""The metadata inside every export: where the model comes from, and how to use it."""

import json
import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from nerveceg_tf.choices import Framing
from nerveceg_tf.errors import ModelError
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size
from nerveceg_tf.utils.checked_json import Share, check

NAME = "nerveceg.json"
"""The name of the metadata: of a file, of a member of a ZIP archive, or of an ONNX property."""


class _Thresholds(TypedDict):
    presence: Share
    mask: Share
    area: NotRequired[Share]
    postprocessing: NotRequired[list[str]]


class _FramingOfStages(TypedDict):
    gate: Framing
    segmenter: Framing


class _Metadata(TypedDict):
    """The keys that are read again."""

    precision: str
    stages: NotRequired[list[str]]
    frame_size: tuple[int, int]
    gate_size: NotRequired[tuple[int, int]]
    segmenter_size: NotRequired[tuple[int, int]]
    framing: NotRequired[_FramingOfStages]
    thresholds: _Thresholds


def append_metadata(path: Path, metadata: dict[str, Any]) -> None:
    """Appends metadata to a TFLite file, in place of earlier metadata.

    It is a ZIP archive after the model. TFLite's own metadata stores associated files in the same
    way: runtimes ignore the archive, and every ZIP tool opens it.

    Args:
        path: the model file.
        metadata: what can be written as JSON.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            begin = archive.infolist()[0].header_offset
        os.truncate(path, begin)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, json.dumps(metadata, indent=2))


def write_onnx_metadata(path: Path, metadata: dict[str, Any]) -> None:
    """Writes metadata as a property of an ONNX model, in place of earlier metadata.

    Args:
        path: the model file.
        metadata: what can be written as JSON.
    """
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {NAME: json.dumps(metadata)})
    onnx.save(model, path)


def read_metadata(path: Path) -> dict[str, Any]:
    """Reads what `append_metadata` wrote.

    Args:
        path: the model file.

    Raises:
        ModelError: the file is missing, or it is not a model of this package.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; make one with export_run(...)")
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(NAME))
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise ModelError(
            f"{path}: is damaged, or was not made by export_run(...); export it again"
        ) from None
    return check_metadata(path, metadata)


def check_metadata(path: Path, metadata: Any) -> dict[str, Any]:
    """Checks that metadata has the keys that are read.

    Args:
        path: of the export, for the message.
        metadata: the content of the JSON.

    Returns:
        The metadata with the keys of this version.

    Raises:
        ModelError: a value is missing, of another type, or unknown.
    """
    try:
        metadata = _with_current_keys(metadata)
        check(metadata, _Metadata)
        for name in metadata["thresholds"].keys() - {field.name for field in fields(Thresholds)}:
            raise ValueError(f"thresholds.{name} is not known")
        for stage in metadata.get("framing", ()):
            if f"{stage}_size" not in metadata:
                raise ValueError(f"{stage}_size is missing")
    except ValueError as error:
        raise ModelError(
            f"{path}: its {NAME} is damaged, or of another version ({error}); export it again"
        ) from None
    return metadata


def _with_current_keys(metadata: Any) -> Any:
    """Renames `cleaning`, as version 0.1 called the post-processing."""
    match metadata:
        case {"thresholds": {"cleaning": steps, **thresholds}}:
            return {**metadata, "thresholds": {**thresholds, "postprocessing": steps}}
    return metadata


def frame_size(metadata: dict[str, Any]) -> Size:
    """Height and width of the frames that the model takes."""
    return tuple(metadata["frame_size"])


def thresholds(metadata: dict[str, Any]) -> Thresholds:
    """The thresholds that the model was exported with."""
    return Thresholds(**metadata["thresholds"])
