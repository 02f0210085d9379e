"""Building blocks of the U-Net family, as in the original NerveCeg.

Every convolution has a bias. Batch normalization uses epsilon 1e-5 and momentum 0.9: these are
PyTorch's defaults, and the statistics converge in a short training. Upsampling is
nearest-neighbour, followed by a 3x3 convolution.
"""

import keras

from nerveceg_tf.errors import ModelError


class SideError(ModelError):
    """A side of an input is not a multiple of what the model needs.

    Attributes:
        multiple: what both sides must be multiples of.
    """

    def __init__(self, message: str, multiple: int):
        super().__init__(message)
        self.multiple = multiple


def frame_input(
    input_shape: tuple[int, int, int], stride: int, gray_range: tuple[float, float] = (-1.0, 1.0)
) -> tuple:
    """The model's input, and the same scaled from gray 0..255 to `gray_range`.

    Args:
        input_shape: height and width in pixels, and number of channels.
        stride: height and width must be multiples of this, because the encoder reduces the size by
            this factor.
        gray_range: values of black and white after scaling. A convolution pads with 0, so weights
            that were trained with one range are wrong at the borders with another.

    Returns:
        Two symbolic tensors `(b, height, width, channels)`: the input, and the scaled input.

    Raises:
        SideError: a side is not a positive multiple of `stride`.
    """
    height, width, _ = input_shape
    if height < stride or width < stride or height % stride or width % stride:
        nearest = (max(1, round(side / stride)) * stride for side in (height, width))
        raise SideError(
            f"segmenter size {height}x{width}: both sides must be multiples of {stride};"
            f" the nearest is {'x'.join(map(str, nearest))}",
            stride,
        )
    image = keras.Input(input_shape, name="image")
    black, white = gray_range
    scale = keras.layers.Rescaling((white - black) / 255, offset=black, name="scale")
    return image, scale(image)


def three_channels(x):
    """Repeats gray images to the three channels of an ImageNet encoder; color stays as it is."""
    return x if x.shape[-1] == 3 else keras.layers.Concatenate(name="gray_to_rgb")([x, x, x])


def conv(
    filters: int, kernel: int, name: str, strides: int = 1, bias: bool = True
) -> keras.layers.Conv2D:
    """A convolution with `same` padding."""
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=bias,
        kernel_initializer="he_normal",
        name=name,
    )


def conv_bn_relu(x, filters: int, name: str):
    """3x3 convolution, batch normalization, ReLU: `(b, h, w, c)` to `(b, h, w, filters)`."""
    x = conv(filters, 3, f"{name}_conv")(x)
    x = batch_norm(f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def double_conv(x, filters: int, name: str):
    """Two `conv_bn_relu` in a row."""
    return conv_bn_relu(conv_bn_relu(x, filters, f"{name}_1"), filters, f"{name}_2")


def down(x, name: str):
    """2x2 max pooling: halves height and width."""
    return keras.layers.MaxPooling2D(name=name)(x)


def bottleneck(x):
    """Gives the last features of the encoder the layer name `bottleneck`. `SharedGate` reads it."""
    return keras.layers.Identity(name="bottleneck")(x)


def up(x, filters: int, name: str):
    """Doubles height and width, then `conv_bn_relu`."""
    x = keras.layers.UpSampling2D(interpolation="nearest", name=f"{name}_upsample")(x)
    return conv_bn_relu(x, filters, name)


def batch_norm(name: str) -> keras.layers.BatchNormalization:
    """Batch normalization with epsilon 1e-5 and momentum 0.9."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def mask_head(x, name: str = "mask"):
    """Nerve probability per pixel, float32 `(b, h, w, 1)`."""
    return keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name=name)(x)
