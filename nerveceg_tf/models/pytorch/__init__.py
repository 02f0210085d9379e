"""Weights of PyTorch files, read without PyTorch."""
