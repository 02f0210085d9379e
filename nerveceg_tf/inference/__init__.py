"""From a run and frames to masks: prediction, post-processing, video and submission."""
