"""From files to batches: frames, masks and subjects on disk, splits, and `tf.data` datasets."""
