"""Labels of frames that contradict their masks."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from nerveceg_tf.data.datasets import FrameSet
from nerveceg_tf.data.folders.rows import list_few
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.truth import contradicts
from nerveceg_tf.errors import LayoutError, NervecegWarning
from nerveceg_tf.utils.progress import count


def check_contradictions(folder: Path | str, frames: FrameSet) -> None:
    """Checks that labels and masks agree, or that the read options say which of them is right.

    Args:
        folder: the data folder, for the message.
        frames: its frames, which were read.

    Raises:
        LayoutError: some do not agree, and nothing says which is right.
    """
    wrong = [f for f in frames.frames if contradicts(f, bool(f.read_results.has_outline))]
    if not wrong:
        return
    believed = frames.frames[0].read_options.labels
    labelled = sum(f.mask is not None and f.present is not None for f in frames.frames)
    start = f"{folder}: the labels of {len(wrong)} of {count(labelled, 'frame')} contradict"
    if believed is None:
        raise LayoutError(
            f'{start} the masks ({_describe(wrong)}); correct them, or pass labels="csv" or'
            ' labels="mask" to say which of them are right'
        )
    effect = "their masks decide"
    if believed == "csv":
        empty, unknown = (sum(f.present is value for f in wrong) for value in (False, True))
        effects = []
        if empty:
            effects.append(f"masks of label 0 count as empty ({empty})")
        if unknown:
            effects.append(
                f"frames of label 1 whose mask is empty ({unknown}) train only a separate gate"
            )
        effect = ", ".join(effects)
    warnings.warn(
        f"{start} the masks ({_describe(wrong)}); by labels={believed}, {effect}",
        NervecegWarning,
        stacklevel=4,
    )


def _describe(wrong: Sequence[Frame]) -> str:
    return list_few([f"{frame.name}: label {int(bool(frame.present))}" for frame in wrong])
