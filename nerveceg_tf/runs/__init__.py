"""Run folders: what a training writes to disk, and how to open it again."""
