"""Explains frames by several methods at once."""

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
        layer: name of the layer that the maps are computed from, for methods with such a choice.

    Raises:
        ModelError: a method is unknown, or explains a stage that is `None`; or no method uses
            `layer`.
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
                raise ModelError(f"method={name}: not a method; choose one of {', '.join(METHODS)}")
            stage = METHODS[name].stage
            if self.models[stage] is None:
                raise ModelError(f"{name}: explains a {stage}, and the run has none")
        if layer and not any(METHODS[name].layered for name in self.methods):
            raise ModelError(f"layer={layer}: has no effect on {', '.join(self.methods)}")

    @classmethod
    def from_run(cls, run: Run, methods: Sequence[str], layer: str | None = None) -> "Explainer":
        """Loads the stages of a run that the methods explain.

        Args:
            run: the run.
            methods: names in `METHODS`.
            layer: as for the class.

        Raises:
            RunError: the run cannot be loaded.
            ModelError: as for the class.
        """
        # The gate is always loaded, because pictures show its presence below the frame.
        needed = {"gate", *(METHODS[name].stage for name in methods if name in METHODS)}
        stages = ("gate", "segmenter")
        gate, segmenter = (run.load(s) if s in needed and s in run.stages else None for s in stages)
        return cls(gate, segmenter, methods, layer)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the maps of frames.

        Args:
            images: `(b, height, width, 1)`, gray 0..255, of any size.

        Returns:
            From the name of each method to its maps, float32 `(b, height, width, channels)`.
        """
        return {
            name: METHODS[name].compute_maps(
                self.models[METHODS[name].stage],
                images,
                **({"layer": self.layer} if METHODS[name].layered and self.layer else {}),
            )
            for name in self.methods
        }
