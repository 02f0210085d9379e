"""Scores against ground truth, baselines, intervals, and the search for thresholds."""
