"""A gate that is a head on the segmenter's own bottleneck, so that one encoder serves both."""

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.common import presence_head


def SharedGate(
    segmenter: keras.Model,
    dropout: float = 0.3,
    bottleneck: str = "bottleneck",
    name: str = "shared_gate",
) -> keras.Model:
    """Adds presence to a segmenter: one encoder, two outputs.

    `NerveCeg(SharedGate(segmenter))` runs the encoder once on every frame, and the decoder on those
    that pass.

    Args:
        segmenter: a segmenter whose encoder ends in a layer of the name `bottleneck`; those of this
            package do, all but `PretrainedUNet` over segmentation_models. Its layers, and so its
            weights, are shared.
        dropout: share of the pooled features dropped before the last layer while training.
        bottleneck: name of the layer whose output the head pools.
        name: the model's name.

    Returns:
        A functional model: `image` as the segmenter takes it, to a dict of `presence` `(b, 1)`,
        `mask` `(b, height, width, 1)` and whatever else the segmenter draws, under its names.

    Raises:
        ModelError: the segmenter has no such layer.

    Example:
        >>> model = NerveCeg(SharedGate(UNet((96, 128, 1), base_filters=16)))
        >>> model.output_shape["presence"]
        (None, 1)

    Reference:
        Mehta et al.: Y-Net: Joint Segmentation and Classification for Diagnosis of Breast Biopsy
        Images (MICCAI 2018), https://arxiv.org/abs/1806.01313
    """
    if bottleneck not in {layer.name for layer in segmenter.layers}:
        raise ModelError(
            f"shared gate: {segmenter.name} has no layer named {bottleneck} to read presence from;"
            " pass bottleneck=, the name of its encoder's last layer"
        )
    presence = presence_head(segmenter.get_layer(bottleneck).output, dropout)
    masks = dict(zip(segmenter.output_names, segmenter.outputs, strict=True))
    return keras.Model(segmenter.inputs[0], {"presence": presence, **masks}, name=name)


def split_shared(shared: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cuts a `SharedGate` model where frames that the gate refuses need go no further.

    Returns:
        The encoder, `image` to a list of presence and the features that the decoder takes; and the
        decoder, those features as a list to `mask`. Both share the layers of `shared`.

    Raises:
        ModelError: the model is no `SharedGate`.
    """
    if not isinstance(shared.output, dict) or not {"presence", "mask"} <= shared.output.keys():
        raise ModelError(f"{shared.name}: is no SharedGate; pass one, or a segmenter too")
    presence, mask = shared.output["presence"], shared.output["mask"]
    encoder_layers = {id(layer) for layer in keras.Model(shared.inputs[0], presence).layers}
    features, seen, waiting = [], set(), [mask]
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        layer, node, _ = tensor._keras_history
        if id(layer) in encoder_layers:
            features.append(tensor)
        else:
            waiting += layer._inbound_nodes[node].input_tensors
    encoder = keras.Model(shared.inputs[0], [presence, *features], name="encoder")
    return encoder, keras.Model(features, mask, name="decoder")
