"""From frames to a run: recipes and the training of both stages."""
