"""Helpers for all folders: files, progress bars, threads, imports and images."""
