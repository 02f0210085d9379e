"""From a trained run to a served model: SavedModel, TFLite and ONNX, and the proof that they agree.

`tflite.Runner` and `onnx.Runner` run an exported model without TensorFlow or Keras.
"""
