"""Several methods for the stages of a run."""

from collections.abc import Sequence

import keras
import numpy as np

from nerveceg_tf.errors import ModelError
from nerveceg_tf.explain.methods import METHODS
from nerveceg_tf.runs.run import Run


class Explainer:
    """Explains frames by several methods.

    Args:
        gate: the gate, or `None`.
        segmenter: the segmenter, or `None`.
        methods: names in `METHODS`.
        layer: name of a layer, for those methods that are drawn from one.

    Raises:
        ModelError: a method is unknown, or explains a stage that is not there.
    """

    def __init__(
        self,
        gate: keras.Model | None,
        segmenter: keras.Model | None,
        methods: Sequence[str],
        layer: str | None = None,
    ):
        self.models = {"gate": gate, "segmenter": segmenter}
        self.methods, self.layer = tuple(dict.fromkeys(methods)), layer
        for name in self.methods:
            if name not in METHODS:
                raise ModelError(f"{name}: explains nothing; choose among {', '.join(METHODS)}")
            stage = METHODS[name].stage
            if self.models[stage] is None:
                raise ModelError(f"{name}: explains a {stage}, and the run has none")
        if layer and not any(METHODS[name].layered for name in self.methods):
            raise ModelError(f"--layer {layer}: means nothing to {', '.join(self.methods)}")

    @classmethod
    def from_run(cls, run: Run, methods: Sequence[str], layer: str | None = None) -> "Explainer":
        """Of the stages that a run has.

        Raises:
            RunError: the run cannot be loaded.
            ModelError: as above.
        """
        # The gate too, where it is not explained: what it says stands below the frame.
        wanted = {"gate", *(METHODS[name].stage for name in methods if name in METHODS)}
        stages = ("gate", "segmenter")
        models = (run.load(s) if s in wanted and s in run.stages else None for s in stages)
        return cls(*models, methods, layer)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Maps by method of frames `(b, height, width, 1)`."""
        return {
            name: METHODS[name].explain(
                self.models[METHODS[name].stage],
                images,
                **({"layer": self.layer} if METHODS[name].layered and self.layer else {}),
            )
            for name in self.methods
        }
