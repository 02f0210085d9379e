"""U-Net: the original's size, and sizes it refuses."""

import numpy as np
import pytest

from nerveceg_tf import UNet
from nerveceg_tf.errors import ModelError


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_at_the_originals_settings_it_has_the_originals_parameters():
    assert trainable(UNet((32, 32, 3), width=64)) == 34_527_041


def test_width_scales_every_level():
    model = UNet((32, 48, 1), width=4)
    assert model.get_layer("down_1_1_conv").filters == 4
    assert model.get_layer("bottom_2_conv").filters == 64


@pytest.mark.parametrize(
    ("size", "mended"), [((100, 128), "96x128"), ((96, 130), "96x128"), ((8, 8), "16x16")]
)
def test_sizes_that_do_not_halve_four_times_are_refused_with_the_nearest(size, mended):
    with pytest.raises(ModelError, match=mended):
        UNet((*size, 1), width=2)
