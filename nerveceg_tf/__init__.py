"""Two-stage nerve segmentation for ultrasound in Keras 3 on TensorFlow.

`import nerveceg_tf as nc` gives everything that a notebook needs. The import takes no time: the
module of a name is imported when the name is first used. TensorFlow is not needed for `Runner`,
which runs a TFLite export on a device, nor for `Client` over REST.

The package's layers, losses and metrics are registered with Keras as soon as both are imported, in
either order, so that `keras.models.load_model` opens what this package saved.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import nerveceg_tf.utils.processor
import nerveceg_tf.utils.quiet  # noqa: F401
from nerveceg_tf.utils.on_import import around_import

if TYPE_CHECKING:
    from nerveceg_tf.audit.audit import Audit, audit_frames
    from nerveceg_tf.audit.page import audit_page
    from nerveceg_tf.audit.suggest import suggest_fixes
    from nerveceg_tf.data.augment.augmentation import Augmentation
    from nerveceg_tf.data.bundled import SAMPLES
    from nerveceg_tf.data.datasets import FrameSet, make_dataset, read_frames
    from nerveceg_tf.data.fixes import find_fixed_frames, read_fixes, write_fixes
    from nerveceg_tf.data.folders.layouts import find_frames, find_images
    from nerveceg_tf.data.folders.write_labels import write_labels
    from nerveceg_tf.data.frame import Frame, read_image, read_mask
    from nerveceg_tf.data.read_options import ReadOptions
    from nerveceg_tf.data.splits import Split, k_folds_by_subject, split_by_subject
    from nerveceg_tf.errors import (
        FrameError,
        LayoutError,
        ModelError,
        NervecegError,
        NervecegWarning,
        RunError,
        ServingError,
        SubjectError,
        TrainingError,
        WeightsUnavailableError,
    )
    from nerveceg_tf.evaluation.cross_validate import cross_validate
    from nerveceg_tf.evaluation.evaluate import evaluate
    from nerveceg_tf.evaluation.frame_selection import frames_by_subset, frames_of_subset
    from nerveceg_tf.evaluation.pixel_counts import with_ground_truth
    from nerveceg_tf.evaluation.tune import tune
    from nerveceg_tf.explain.attention import attention_maps
    from nerveceg_tf.explain.grad_cam import grad_cam, grad_cam_plus_plus, seg_grad_cam
    from nerveceg_tf.explain.pointing import Pointing, point
    from nerveceg_tf.explain.saliency import (
        guided_backpropagation,
        integrated_gradients,
        smooth_grad,
        vanilla_gradients,
    )
    from nerveceg_tf.export.config import ExportConfig, ExportFormat, Precision
    from nerveceg_tf.export.export import export_run
    from nerveceg_tf.export.exported_run import ExportedRun, open_runs
    from nerveceg_tf.export.exporters import open_export
    from nerveceg_tf.export.tflite import Runner
    from nerveceg_tf.export.verify import verify
    from nerveceg_tf.inference.postprocess import MaskPostprocessor
    from nerveceg_tf.inference.predict import (
        FramePrediction,
        predict,
        predict_ungated,
        write_predictions,
    )
    from nerveceg_tf.inference.submission import write_submission
    from nerveceg_tf.losses import BCEDice, Dice, FocalTversky, Tversky
    from nerveceg_tf.metrics import KaggleDice, NerveDice, TverskyIndex
    from nerveceg_tf.models import (
        GATES,
        SEGMENTERS,
        AttentionUNet,
        EfficientNetGate,
        EfficientNetLiteGate,
        GateAlone,
        NerveCeg,
        NoGate,
        PretrainedLeanUNet,
        PretrainedUNet,
        R2AttentionUNet,
        R2UNet,
        ResNetGate,
        ResUNet,
        SharedGate,
        UNet,
        UNetPlusPlus,
        import_torch,
        prune,
        with_framing,
    )
    from nerveceg_tf.report.page import write_report
    from nerveceg_tf.runs.bundled import bundled_run
    from nerveceg_tf.runs.combine import combine
    from nerveceg_tf.runs.ensemble import RunEnsemble
    from nerveceg_tf.runs.run import Run
    from nerveceg_tf.runs.thresholds import Thresholds
    from nerveceg_tf.serving.client import Client
    from nerveceg_tf.serving.local_server import LocalServer
    from nerveceg_tf.training.distill import distill
    from nerveceg_tf.training.recipe import (
        RECIPES,
        DataConfig,
        GateConfig,
        OptimizerConfig,
        Recipe,
        SegmenterConfig,
    )
    from nerveceg_tf.training.train import resume, train
    from nerveceg_tf.utils.overlay import overlay
    from nerveceg_tf.utils.progress import disable_progress_bars, enable_progress_bars

__version__ = "0.2.0"

_NAMES: dict[str, tuple[str, ...]] = {
    "data.bundled": ("SAMPLES",),
    "data.frame": (
        "Frame",
        "read_image",
        "read_mask",
    ),
    "data.folders.layouts": (
        "find_frames",
        "find_images",
    ),
    "data.folders.write_labels": ("write_labels",),
    "data.read_options": ("ReadOptions",),
    "data.datasets": (
        "FrameSet",
        "make_dataset",
        "read_frames",
    ),
    "data.augment.augmentation": ("Augmentation",),
    "data.splits": (
        "Split",
        "k_folds_by_subject",
        "split_by_subject",
    ),
    "data.fixes": (
        "find_fixed_frames",
        "read_fixes",
        "write_fixes",
    ),
    "audit.audit": (
        "Audit",
        "audit_frames",
    ),
    "audit.page": ("audit_page",),
    "audit.suggest": ("suggest_fixes",),
    "models": (
        "GATES",
        "SEGMENTERS",
        "AttentionUNet",
        "EfficientNetGate",
        "EfficientNetLiteGate",
        "GateAlone",
        "NerveCeg",
        "NoGate",
        "PretrainedLeanUNet",
        "PretrainedUNet",
        "R2AttentionUNet",
        "R2UNet",
        "ResNetGate",
        "ResUNet",
        "SharedGate",
        "UNet",
        "UNetPlusPlus",
        "import_torch",
        "prune",
        "with_framing",
    ),
    "losses": (
        "BCEDice",
        "Dice",
        "FocalTversky",
        "Tversky",
    ),
    "metrics": (
        "KaggleDice",
        "NerveDice",
        "TverskyIndex",
    ),
    "training.distill": ("distill",),
    "training.recipe": (
        "RECIPES",
        "DataConfig",
        "GateConfig",
        "OptimizerConfig",
        "Recipe",
        "SegmenterConfig",
    ),
    "training.train": (
        "resume",
        "train",
    ),
    "runs.bundled": ("bundled_run",),
    "runs.combine": ("combine",),
    "runs.ensemble": ("RunEnsemble",),
    "runs.run": ("Run",),
    "runs.thresholds": ("Thresholds",),
    "inference.predict": (
        "FramePrediction",
        "predict",
        "predict_ungated",
        "write_predictions",
    ),
    "inference.postprocess": ("MaskPostprocessor",),
    "inference.submission": ("write_submission",),
    "evaluation.cross_validate": ("cross_validate",),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.frame_selection": (
        "frames_by_subset",
        "frames_of_subset",
    ),
    "evaluation.pixel_counts": ("with_ground_truth",),
    "evaluation.tune": ("tune",),
    "report.page": ("write_report",),
    "explain.attention": ("attention_maps",),
    "explain.grad_cam": (
        "grad_cam",
        "grad_cam_plus_plus",
        "seg_grad_cam",
    ),
    "explain.pointing": (
        "Pointing",
        "point",
    ),
    "explain.saliency": (
        "guided_backpropagation",
        "integrated_gradients",
        "smooth_grad",
        "vanilla_gradients",
    ),
    "export.config": (
        "ExportConfig",
        "ExportFormat",
        "Precision",
    ),
    "export.export": ("export_run",),
    "export.exported_run": (
        "ExportedRun",
        "open_runs",
    ),
    "export.exporters": ("open_export",),
    "export.verify": ("verify",),
    "export.tflite": ("Runner",),
    "serving.client": ("Client",),
    "serving.local_server": ("LocalServer",),
    "errors": (
        "FrameError",
        "LayoutError",
        "ModelError",
        "NervecegError",
        "NervecegWarning",
        "RunError",
        "ServingError",
        "SubjectError",
        "TrainingError",
        "WeightsUnavailableError",
    ),
    "utils.overlay": ("overlay",),
    "utils.progress": (
        "disable_progress_bars",
        "enable_progress_bars",
    ),
}
"""The public names by the module that defines them."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "GATES",
    "RECIPES",
    "SAMPLES",
    "SEGMENTERS",
    "AttentionUNet",
    "Audit",
    "Augmentation",
    "BCEDice",
    "Client",
    "DataConfig",
    "Dice",
    "EfficientNetGate",
    "EfficientNetLiteGate",
    "ExportConfig",
    "ExportFormat",
    "ExportedRun",
    "FocalTversky",
    "Frame",
    "FrameError",
    "FramePrediction",
    "FrameSet",
    "GateAlone",
    "GateConfig",
    "KaggleDice",
    "LayoutError",
    "LocalServer",
    "MaskPostprocessor",
    "ModelError",
    "NerveCeg",
    "NerveDice",
    "NervecegError",
    "NervecegWarning",
    "NoGate",
    "OptimizerConfig",
    "Pointing",
    "Precision",
    "PretrainedLeanUNet",
    "PretrainedUNet",
    "R2AttentionUNet",
    "R2UNet",
    "ReadOptions",
    "Recipe",
    "ResNetGate",
    "ResUNet",
    "Run",
    "RunEnsemble",
    "RunError",
    "Runner",
    "SegmenterConfig",
    "ServingError",
    "SharedGate",
    "Split",
    "SubjectError",
    "Thresholds",
    "TrainingError",
    "Tversky",
    "TverskyIndex",
    "UNet",
    "UNetPlusPlus",
    "WeightsUnavailableError",
    "attention_maps",
    "audit_frames",
    "audit_page",
    "bundled_run",
    "combine",
    "cross_validate",
    "disable_progress_bars",
    "distill",
    "enable_progress_bars",
    "evaluate",
    "export_run",
    "find_fixed_frames",
    "find_frames",
    "find_images",
    "frames_by_subset",
    "frames_of_subset",
    "grad_cam",
    "grad_cam_plus_plus",
    "guided_backpropagation",
    "import_torch",
    "integrated_gradients",
    "k_folds_by_subject",
    "make_dataset",
    "open_export",
    "open_runs",
    "overlay",
    "point",
    "predict",
    "predict_ungated",
    "prune",
    "read_fixes",
    "read_frames",
    "read_image",
    "read_mask",
    "resume",
    "seg_grad_cam",
    "smooth_grad",
    "split_by_subject",
    "suggest_fixes",
    "train",
    "tune",
    "vanilla_gradients",
    "verify",
    "with_framing",
    "with_ground_truth",
    "write_fixes",
    "write_labels",
    "write_predictions",
    "write_report",
    "write_submission",
]

_REGISTERED = ("losses", "metrics", "models", "training.flat_adamw")
"""The modules whose classes Keras must know."""


if not TYPE_CHECKING:  # to which any name would be one

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
            globals()[name] = value
            return value
        if name in ("losses", "metrics", "models"):
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    from importlib.util import find_spec

    if find_spec("tensorflow"):  # Keras alone may run on another backend
        for module in _REGISTERED:
            import_module(f"{__name__}.{module}")


@contextmanager
def _registered() -> Iterator[None]:
    yield
    _register()


if "keras" in sys.modules:
    _register()
else:
    around_import("keras", _registered)
