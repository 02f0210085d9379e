"""The nets of the PyTorch original, built from the names and shapes of a checkpoint."""
