"""Imports models of the PyTorch original, with their weights."""

from pathlib import Path
from typing import Any

import keras

from nerveceg_tf.choices import FRAMING_NAMES
from nerveceg_tf.errors import ModelError
from nerveceg_tf.models.originals.checkpoint import MASK_THRESHOLD, WINDOW, Checkpoint
from nerveceg_tf.models.originals.efficientnet import efficientnet, is_efficientnet
from nerveceg_tf.models.originals.r2_classifier import is_r2_classifier, r2_classifier
from nerveceg_tf.models.originals.resnet import is_resnet, resnet
from nerveceg_tf.models.originals.segmenters import is_segmenter, segmenter
from nerveceg_tf.models.pytorch.layer_weights import load_torch_weights
from nerveceg_tf.models.pytorch.state_dict import read_state_dict
from nerveceg_tf.models.stage_settings import with_settings
from nerveceg_tf.size import Size

_NETS = (
    (is_efficientnet, efficientnet),
    (is_r2_classifier, r2_classifier),
    (is_resnet, resnet),
    (is_segmenter, segmenter),
)
_KNOWN = (
    "the original's U_Net, R2U_Net, AttU_Net, R2AttU_Net, resnet18 to resnet152 and Cls_R2U_Net,"
    " and efficientnet_pytorch's b0 to b7 can be imported"
)


def import_torch(
    path: Path | str,
    size: Size | None = None,
    recurrences: int | None = None,
    framing: str = "crop",
    name: str | None = None,
) -> keras.Model:
    """Imports a checkpoint of the PyTorch original as a Keras model with the same outputs.

    The architecture, the width and the number of input channels are read from the names and shapes
    in the checkpoint. The model takes gray values 0..255, as every model of this package. It scales
    them to 0..1, as the original did.

    Args:
        path: a file that `torch.save` wrote: a state dict, a whole module, or a dict with one of
            these and other values. It is read without PyTorch, and no code in it is run.
        size: height and width of the input in pixels. The default is 400x400, the window of the
            original. With a `framing` of whole frames it is the square of the variant for an
            EfficientNet.
        recurrences: the original's `t` of an R2U-Net, by default 2. The weights do not contain it.
        framing: how the model sees a frame, which is saved with it: `"crop"`, as the original: a
            window from the middle; `"resize"`, for weights of other projects: the whole frame; or
            another one of `with_framing`.
        name: the model's name.

    Returns:
        A segmenter from `U_Net`, `R2U_Net`, `AttU_Net` or `R2AttU_Net`; it outputs probabilities,
        and the original logits. Or a gate from an `efficientnet_pytorch` classifier, a ResNet of
        the original or its `Cls_R2U_Net`. Presence is the softmax over the first two outputs, of
        which class 1 means a nerve; others were not trained. `efficientnet_pytorch` fixes the
        padding for the size of the variant when it builds a net, so the gate uses that padding at
        every size.

    Raises:
        ModelError: the file contains no net, or an unknown key or shape; `framing` is unknown; or
            `recurrences` is given
            for another net than an R2U-Net or `Cls_R2U_Net`.

    Example:
        `import_torch("unet.pt", size=(384, 384)).save("segmenter.keras")`
    """
    if framing not in FRAMING_NAMES:
        raise ModelError(f"framing={framing}: choose one of {', '.join(FRAMING_NAMES)}")
    if size is None and framing == "crop":
        size = WINDOW
    state = read_state_dict(path)
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if recurrences is not None and "RRCNN1.Conv_1x1.weight" not in state:
        raise ModelError(
            f"recurrences={recurrences}: has no effect, because {path} is not an R2U-Net; leave it"
            " out"
        )
    checkpoint = Checkpoint(state, str(path), size, recurrences or 2, name)
    build = next((build for is_net, build in _NETS if is_net(state)), None)
    if build is None:
        raise ModelError(f"{path}: {next(iter(state))} is not known; {_KNOWN}")
    model, names = build(checkpoint)
    load_torch_weights(model, state, names, str(path))
    if state:
        raise ModelError(f"{path}: {next(iter(state))} is not known in {model.name}; {_KNOWN}")
    settings: dict[str, Any] = {"framing": framing}
    if build is segmenter:
        settings["mask_threshold"] = MASK_THRESHOLD
    return with_settings(model, **settings)
