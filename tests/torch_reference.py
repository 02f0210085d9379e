"""The original's four segmenters in PyTorch, written anew from their description.

Names and order of the submodules are the original's, so that the state dicts are alike.
"""

import torch
from torch import nn


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
