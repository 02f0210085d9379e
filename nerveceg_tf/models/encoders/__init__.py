"""Pretrained encoders, which gates and segmenters share."""
