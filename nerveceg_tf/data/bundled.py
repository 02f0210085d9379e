"""The sample frames that come with the package: 120 labelled ultrasound frames, CC BY 4.0."""

from pathlib import Path

SAMPLES = Path(__file__).parent / "samples"
"""Folder of the sample frames and their masks."""
