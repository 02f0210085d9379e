"""The sample frames in the package: 120 labelled ultrasound frames, licensed under CC BY 4.0."""

from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"
"""Folder of the sample frames and their masks, in the layout of Kaggle's data set."""
