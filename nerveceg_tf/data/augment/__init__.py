"""Data augmentation: random changes of frames and their masks, a batch at a time."""
