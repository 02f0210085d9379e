"""Prints the outline scores that MONAI computes, for `tests/test_outlines.py`.

    python tools/outlines_by_monai.py

It needs `monai==1.6.1`, `torch==2.13.0`, `scipy` and `opencv-python-headless`, but not this
package.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from mask_pairs import mask_pairs


def scores(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Computes Hausdorff-95, average surface distance, and surface Dice within 2 and 5 pixels."""
    # MONAI needs float32 with batch and channel axes.
    y, y_pred = (
        torch.from_numpy(mask.astype(np.float32))[None, None] for mask in (truth, predicted)
    )
    return [
        float(score)
        for score in (
            compute_hausdorff_distance(y_pred, y, True, percentile=95, directed=False),
            compute_average_surface_distance(y_pred, y, True, symmetric=True),
            compute_surface_dice(y_pred, y, [2.0], include_background=True),
            compute_surface_dice(y_pred, y, [5.0], include_background=True),
        )
    ]


if __name__ == "__main__":
    for name, pair in mask_pairs().items():
        print(f'    "{name}": ({", ".join(f"{x:.9g}" for x in scores(*pair))}),')
