"""The names of the groups of frames in `split.json`."""

SUBSETS = ("train", "validation", "held_out")
EXCLUDED = "excluded"
"""Frames that the fixes dropped. They are in none of the subsets, and are never scored."""
EARLIER = "earlier"
"""Frames of the runs whose weights this one started from, by their subset there."""
TAUGHT = "taught"
"""Frames of the runs that taught this one, by their subset there, and unlabelled training frames.
A validation frame of this run stays one."""
