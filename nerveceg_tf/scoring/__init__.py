"""From a run to predictions and scores."""
