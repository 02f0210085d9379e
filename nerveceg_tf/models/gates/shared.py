"""A gate on the bottleneck of a segmenter: both stages share one encoder."""

import keras

from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.gates.common import presence_head


def SharedGate(
    segmenter: keras.Model,
    dropout: float = 0.3,
    bottleneck: str = "bottleneck",
    name: str = "shared_gate",
) -> keras.Model:
    """Adds a presence output to a segmenter: one encoder, two outputs.

    `NerveCeg(SharedGate(segmenter))` runs the encoder once on every frame, and the decoder only on
    the frames that pass the gate.

    Args:
        segmenter: a segmenter whose encoder ends in a layer named `bottleneck`. All segmenters of
            this package have one, except for `PretrainedUNet` with an encoder of
            segmentation_models. The result shares its layers and weights.
        dropout: share of the pooled features that are dropped before the last layer in training,
            0..1.
        bottleneck: name of the layer whose output the head pools.
        name: the model's name.

    Returns:
        A functional model: `image`, the segmenter's input, to a dict of `presence`, float32
        `(b, 1)`, `mask`, float32 `(b, height, width, 1)`, and the segmenter's other outputs under
        their names.

    Raises:
        ModelError: the segmenter does not have the layer.

    Example:
        >>> model = NerveCeg(SharedGate(UNet((32, 32, 1), base_filters=2)))
        >>> model.output["presence"].shape
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
    """Splits a `SharedGate` into its encoder with the gate, and its decoder.

    Args:
        shared: a model from `SharedGate`.

    Returns:
        The encoder, `image` to a list of presence and the features that the decoder takes; and the
        decoder, a list of these features to `mask`. Both share the layers of `shared`.

    Raises:
        ModelError: the model is not a `SharedGate`.
    """
    if not isinstance(shared.output, dict) or not {"presence", "mask"} <= shared.output.keys():
        raise ModelError(
            f"{shared.name}: not a SharedGate; pass SharedGate(segmenter), or a gate and a"
            " segmenter"
        )
    image = shared.inputs[0]
    both = keras.Model(image, [shared.output["presence"], shared.output["mask"]])
    encoder_layers = {id(layer) for layer in keras.Model(image, both.outputs[0]).layers}
    encoder_tensors, features = {id(image): image}, {}

    def call(layer: keras.layers.Layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        if id(layer) in encoder_layers:
            encoder_tensors.update({id(x): x for x in keras.tree.flatten(outputs)})
        else:
            inputs = {id(x): x for x in keras.tree.flatten((args, kwargs))}
            features.update({i: x for i, x in inputs.items() if i in encoder_tensors})
        return outputs

    # Calls the same layers once more, in their order. Nothing is copied.
    traced = keras.models.clone_model(both, image, lambda layer: layer, call)
    presence, mask = traced.outputs
    encoder = keras.Model(image, [presence, *features.values()], name="encoder")
    return encoder, keras.Model(list(features.values()), mask, name="decoder")
