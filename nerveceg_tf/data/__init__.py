"""Frames on disk, their masks and subjects, and the datasets made of them."""
