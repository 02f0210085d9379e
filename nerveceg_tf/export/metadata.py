"""What a model says about itself, kept inside every export."""

import json
import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from nerveceg_tf.errors import ModelError
from nerveceg_tf.runs.thresholds import Thresholds
from nerveceg_tf.size import Size
from nerveceg_tf.utils.checked_json import Share, check

NAME = "nerveceg.json"
"""The member or file that holds the metadata."""


class _Thresholds(TypedDict):
    presence: Share
    mask: Share
    area: NotRequired[Share]
    postprocessing: NotRequired[list[str]]


class _Metadata(TypedDict):
    """What is read of the metadata again."""

    precision: str
    frame_size: tuple[int, int]
    thresholds: _Thresholds


def append_metadata(path: Path, metadata: dict[str, Any]) -> None:
    """Appends the metadata to a model file as a ZIP archive, which every TFLite runtime passes over.

    That is how TFLite metadata packs a model's associated files, so any ZIP tool reads them. Facts
    that are there already give way.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            begin = archive.infolist()[0].header_offset
        os.truncate(path, begin)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, json.dumps(metadata, indent=2))


def write_onnx_metadata(path: Path, metadata: dict[str, Any]) -> None:
    """Writes the metadata into an ONNX file's own metadata, in place of earlier ones."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {NAME: json.dumps(metadata)})
    onnx.save(model, path)


def read_metadata(path: Path) -> dict[str, Any]:
    """Reads what `append_metadata` wrote.

    Raises:
        ModelError: there is no such file, or it is no model of this package.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; make one with nerveceg export")
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(NAME))
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise ModelError(
            f"{path}: is damaged, or was not made by nerveceg export; export it again"
        ) from None
    return check_metadata(path, metadata)


def check_metadata(path: Path, metadata: Any) -> dict[str, Any]:
    """The metadata, if all is there that is read of them.

    Args:
        path: the export that they are of.
        metadata: as they were read.

    Raises:
        ModelError: something is missing, of another kind, or not known.
    """
    try:
        metadata = _with_current_keys(metadata)
        check(metadata, _Metadata)
        for name in metadata["thresholds"].keys() - {field.name for field in fields(Thresholds)}:
            raise ValueError(f"thresholds.{name} is not known")
    except ValueError as error:
        raise ModelError(
            f"{path}: its {NAME} is damaged, or of another version ({error}); export it again"
        ) from None
    return metadata


def _with_current_keys(metadata: Any) -> Any:
    """Metadata of version 0.1, which called the postprocessing `cleaning`, as today's."""
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
