"""The attention of an Attention U-Net."""

import keras
import numpy as np

from nerveceg_tf.errors import ModelError
from nerveceg_tf.explain.logits import get_segmenter, to_frame, to_input


def attention_maps(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Computes the attention coefficients of an Attention U-Net's skip connections.

    Args:
        model: an `AttentionUNet` or `R2AttentionUNet`, or a `NerveCeg` with one as segmenter.
        images: `(b, height, width, 1)`, gray 0..255, of any size.

    Returns:
        float32 `(b, height, width, 4)`, 0..1, in the size of the images. The last axis is the level
        of the skip connection, from the finest to the coarsest.

    Raises:
        ModelError: the segmenter has no attention.

    Reference:
        Oktay et al.: Attention U-Net (MIDL 2018), https://arxiv.org/abs/1804.03999
    """
    segmenter = get_segmenter(model)
    existing = {layer.name for layer in segmenter.layers}
    names = [f"attention_{level}_coefficients" for level in range(1, 5)]
    if not existing.issuperset(names):
        raise ModelError(
            f"{segmenter.name}: has no attention to show; take attention_unet or r2_attention_unet"
        )
    outputs = [segmenter.get_layer(name).output for name in names]
    levels = keras.Model(segmenter.inputs[0], outputs)(to_input(segmenter, images), training=False)
    return np.concatenate([to_frame(segmenter, level, images) for level in levels], axis=-1)
