"""Exports of runs as SavedModel, TFLite and ONNX, and their comparison with the run.

`tflite.Runner` and `onnx.Runner` run an exported model without TensorFlow or Keras.
"""
