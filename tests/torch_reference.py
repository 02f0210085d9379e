"""The original's nets in PyTorch, written from their description.

Names and order of the submodules are the original's, so that the state dicts are alike.
"""

from itertools import pairwise

import torch
from torch import nn

# Beside TensorFlow's threads and another test process, more of them wait for each other: on two
# cores a net takes five times as long.
torch.set_num_threads(1)


def _conv_bn(channels: int, filters: int, kernel: int = 3) -> list[nn.Module]:
    conv = nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
    return [conv, nn.BatchNorm2d(filters)]


class DoubleConv(nn.Module):
    def __init__(self, channels: int, filters: int):
        super().__init__()
        first, second = _conv_bn(channels, filters), _conv_bn(filters, filters)
        self.conv = nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU())

    def forward(self, x):
        return self.conv(x)


class Up(nn.Module):
    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), *_conv_bn(channels, filters), nn.ReLU()
        )

    def forward(self, x):
        return self.up(x)


class Recurrent(nn.Module):
    def __init__(self, filters: int, recurrences: int):
        super().__init__()
        self.conv = nn.Sequential(*_conv_bn(filters, filters), nn.ReLU())
        self.recurrences = recurrences

    def forward(self, x):
        state = self.conv(x)
        for _ in range(self.recurrences):
            state = self.conv(x + state)
        return state


class RecurrentResidual(nn.Module):
    def __init__(self, channels: int, filters: int, recurrences: int):
        super().__init__()
        self.RCNN = nn.Sequential(*(Recurrent(filters, recurrences) for _ in range(2)))
        self.Conv_1x1 = nn.Conv2d(channels, filters, 1)

    def forward(self, x):
        x = self.Conv_1x1(x)
        return x + self.RCNN(x)


class Attention(nn.Module):
    def __init__(self, filters: int):
        super().__init__()
        self.W_g = nn.Sequential(*_conv_bn(filters, filters // 2, 1))
        self.W_x = nn.Sequential(*_conv_bn(filters, filters // 2, 1))
        self.psi = nn.Sequential(*_conv_bn(filters // 2, 1, 1), nn.Sigmoid())

    def forward(self, gating, skip):
        return skip * self.psi(torch.relu(self.W_g(gating) + self.W_x(skip)))


class OriginalSegmenter(nn.Module):
    """`U_Net`, `AttU_Net`, `R2U_Net` or `R2AttU_Net`: frames `(b, c, h, w)` to logits."""

    def __init__(
        self,
        recurrent: bool = False,
        attention: bool = False,
        channels: int = 3,
        base_filters: int = 64,
        recurrences: int = 2,
    ):
        super().__init__()

        def block(channels: int, filters: int) -> nn.Module:
            if recurrent:
                return RecurrentResidual(channels, filters, recurrences)
            return DoubleConv(channels, filters)

        self._side = "RRCNN" if recurrent else "Conv"
        self._merge = "Up_RRCNN" if recurrent else "Up_conv"
        self._attention = attention
        for level in range(1, 6):
            filters = base_filters * 2 ** (level - 1)
            self.add_module(f"{self._side}{level}", block(channels, filters))
            channels = filters
        for level in range(5, 1, -1):
            filters = base_filters * 2 ** (level - 2)
            self.add_module(f"Up{level}", Up(2 * filters, filters))
            if attention:
                self.add_module(f"Att{level}", Attention(filters))
            self.add_module(f"{self._merge}{level}", block(2 * filters, filters))
        self.Conv_1x1 = nn.Conv2d(base_filters, 1, 1)

    def forward(self, x):
        skips = []
        for level in range(1, 6):
            if level > 1:
                x = nn.functional.max_pool2d(x, 2)
            x = self.get_submodule(f"{self._side}{level}")(x)
            skips.append(x)
        for level in range(5, 1, -1):
            skip, x = skips[level - 2], self.get_submodule(f"Up{level}")(x)
            if self._attention:
                skip = self.get_submodule(f"Att{level}")(x, skip)
            x = self.get_submodule(f"{self._merge}{level}")(torch.cat((skip, x), 1))
        return self.Conv_1x1(x)


class _Residual(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int, bottleneck: bool):
        super().__init__()

        def conv_bn(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
            conv = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
            return [conv, nn.BatchNorm2d(filters)]

        if bottleneck:
            out = 4 * filters
            layers = [*conv_bn(channels, filters, 1), nn.ReLU()]
            layers += [*conv_bn(filters, filters, 3, stride), nn.ReLU(), *conv_bn(filters, out, 1)]
        else:
            out = filters
            layers = [*conv_bn(channels, filters, 3, stride), nn.ReLU(), *conv_bn(filters, out, 3)]
        self.residual_function = nn.Sequential(*layers)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(*conv_bn(channels, out, 1, stride))

    def forward(self, x):
        return torch.relu(self.residual_function(x) + self.shortcut(x))


class OriginalResNet(nn.Module):
    """`resnet18` to `resnet152`: frames `(b, 3, h, w)` to two logits. It can be made narrower."""

    def __init__(
        self,
        units: tuple[int, ...],
        bottleneck: bool,
        outputs: int = 2,
        base_filters: int = 64,
    ):
        super().__init__()
        conv = nn.Conv2d(3, base_filters, 3, padding=1, bias=False)
        self.conv1 = nn.Sequential(conv, nn.BatchNorm2d(base_filters), nn.ReLU())
        channels = base_filters
        for stage, count in enumerate(units):
            blocks, filters = [], base_filters << stage
            for unit in range(count):
                stride = 2 if stage and not unit else 1
                blocks.append(_Residual(channels, filters, stride, bottleneck))
                channels = filters * (4 if bottleneck else 1)
            self.add_module(f"conv{stage + 2}_x", nn.Sequential(*blocks))
        self.avg_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, outputs)

    def forward(self, x):
        x = self.conv1(x)
        for stage in range(2, 6):
            x = self.get_submodule(f"conv{stage}_x")(x)
        return self.fc(self.avg_pool(x).flatten(1))


class OriginalR2Classifier(nn.Module):
    """`Cls_R2U_Net`: frames `(b, 3, h, w)` to two logits. The widths can be made smaller."""

    def __init__(self, base_filters: int = 64, side: int = 400, recurrences: int = 2):
        super().__init__()
        channels = 3
        for number, factor in enumerate((1, 2, 4, 8, 16, 8, 2), start=1):
            filters = base_filters * factor
            self.add_module(f"RRCNN{number}", RecurrentResidual(channels, filters, recurrences))
            channels = filters
        widths = [channels * (side // 64) ** 2, 1000, 250, 80, 20, 10, 2]
        layers: list[nn.Module] = []
        for number, (inner, outer) in enumerate(pairwise(widths)):
            layers += [nn.Dropout()] if number < 3 else []
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        self.classifier = nn.Sequential(*layers[:-1])

    def forward(self, x):
        for number in range(1, 8):
            if number > 1:
                x = nn.functional.max_pool2d(x, 2)
            x = self.get_submodule(f"RRCNN{number}")(x)
        return self.classifier(x.flatten(1))
