"""Pretrained encoders for gates and segmenters."""
