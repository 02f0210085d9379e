"""Shows an audit as one self-contained HTML page, with the frames side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
from jinja2 import Environment

from nerveceg_tf.audit.audit import KINDS, Audit, Finding
from nerveceg_tf.data.frame import Frame, read_image
from nerveceg_tf.data.resize import resize
from nerveceg_tf.data.truth import annotated_mask
from nerveceg_tf.errors import FrameError
from nerveceg_tf.utils.data_url import data_url
from nerveceg_tf.utils.parallel import parallel_map
from nerveceg_tf.utils.progress import track

_WIDTH = 256
_JPEG = ("jpg", cv2.IMWRITE_JPEG_QUALITY, 82)
_MAX_CARDS = 150  # findings of each kind on the page; the JSON has all
_MASK = (80, 220, 255)  # yellow, in OpenCV's blue-green-red


@dataclass(frozen=True)
class _Card:
    finding: Finding
    subjects: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...]


def audit_page(audit: Audit) -> str:
    """Renders an audit as an HTML page that contains its images.

    Args:
        audit: the result of `audit_frames`. The frames must still be on disk.

    Returns:
        The HTML text.

    Example:
        >>> from nerveceg_tf.audit.audit import audit_frames
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> "has no mask" in audit_page(audit_frames(SAMPLES / "test"))
        True
    """
    shown = [f for kind in KINDS for f in audit.of_kind(kind)[:_MAX_CARDS]]
    cards = track(parallel_map(lambda f: _card(audit, f), shown), "rendering findings", len(shown))
    sections: dict[str, list[_Card]] = {kind: [] for kind in KINDS}
    for card in cards:
        sections[card.finding.kind].append(card)
    summary = audit.as_json()
    template = files("nerveceg_tf.audit").joinpath("page.html").read_text("utf-8")
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            audit=summary,
            kinds=KINDS,
            sections=sections,
            max_cards=_MAX_CARDS,
            max_area=max((s["area"] or 0 for s in summary["subjects"]), default=0) or 1,
        )
    )


def _card(audit: Audit, finding: Finding) -> _Card:
    frames = [audit.frames[name] for name in finding.names]
    return _Card(
        finding,
        tuple(frame.subject or "unknown" for frame in frames),
        tuple(_pictures(frames, finding)),
    )


def _pictures(frames: list[Frame], finding: Finding) -> Iterator[tuple[str, str]]:
    """Yields captions and data URLs: each frame with its mask, and the difference of two frames."""
    images = []
    for frame in frames:
        try:
            image = read_image(frame.image, frame.index, frame.read_options)
            mask = annotated_mask(frame, image.shape)
        except FrameError:
            return  # the text of the finding describes the error
        images.append(image)
        yield f"{frame.name}, subject {frame.subject or 'unknown'}", _outlined(image, mask)
    if len(images) == 2 and images[0].shape == images[1].shape and not finding.exact:
        down, right = finding.shift
        back = np.array([[1, 0, -right], [0, 1, -down]], np.float32)
        moved = cv2.warpAffine(images[1], back, images[1].shape[::-1])
        difference = cv2.absdiff(images[0], moved)
        yield "difference, aligned", data_url(_small(difference), *_JPEG)


def _outlined(image: np.ndarray, mask: np.ndarray) -> str:
    canvas = cv2.cvtColor(_small(image), cv2.COLOR_GRAY2BGR)
    small = (resize(mask * 255, canvas.shape[:2]) > 127).astype(np.uint8)
    contours, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return data_url(cv2.drawContours(canvas, contours, -1, _MASK, 1, cv2.LINE_AA), *_JPEG)


def _small(image: np.ndarray) -> np.ndarray:
    return resize(image, (max(1, round(image.shape[0] * _WIDTH / image.shape[1])), _WIDTH))
