#!/usr/bin/env python3
"""Golden values of residual, squeeze-excite and depthwise-separable blocks: tests/golden/residual.csv, which
src/nn/images_tests.rs reads.

    scripts/golden/residual.py > tests/golden/residual.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do), from its own convolutions and batch normalization in training,
put together as torchvision has them. Inputs and parameters are exact in f32.

Rows of a case: `x`; `param:NAME`; `out`; and the gradient by each, `d:NAME`, of the sum of the outputs, each times
((5 i) mod 7) / 4 - 3/4.
"""

import torch
from torch import nn

torch.set_default_dtype(torch.float64)
torch.manual_seed(31)


def numbers(*shape, most=1.0):
    x = (torch.rand(*shape) * 2 - 1) * most
    return (x * 2**8).round() / 2**8


def row(name, what, x):
    values = " ".join(f"{v:.9g}" for v in x.detach().flatten().tolist())
    print(f"{name};{what};0;{'x'.join(map(str, x.shape))};{values}")


class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class Block(nn.Module):
    """Convolutions of (inputs, outputs, kernel, stride)."""

    def __init__(self, sizes, reduction=0):
        super().__init__()
        for i, (inputs, outputs, kernel, stride) in enumerate(sizes, 1):
            conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(outputs))
        self.count, outputs = len(sizes), sizes[-1][1]
        if reduction:
            self.se = SqueezeExcite(outputs, outputs // reduction)
        stride = max(size[3] for size in sizes)
        if stride != 1 or sizes[0][0] != outputs:
            conv = nn.Conv2d(sizes[0][0], outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y if i == self.count else torch.relu(y)
        y = self.se(y) if hasattr(self, "se") else y
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def basic(inputs, outputs, stride, reduction=0):
    return Block([(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)], reduction)


def bottleneck(inputs, width, stride, reduction=0):
    return Block([(inputs, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)], reduction)


class Separable(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return torch.relu(self.bn2(self.pointwise(torch.relu(self.bn1(self.depthwise(x))))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.layer1 = nn.Sequential(basic(3, 3, 1), basic(3, 3, 1))
        self.layer2 = nn.Sequential(basic(3, 4, 2), basic(4, 4, 1))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


def case(name, layer, *shape):
    with torch.no_grad():
        for key, p in layer.named_parameters():
            p.copy_(numbers(*p.shape) + (1 if "bn" in key and key.endswith("weight") else 0))
    x = numbers(*shape, most=2.0).requires_grad_()
    y = layer(x)
    weights = (torch.arange(y.numel()) * 5 % 7) / 4 - 0.75
    parameters = dict(layer.named_parameters())
    gradients = torch.autograd.grad((y * weights.reshape(y.shape)).sum(), [x, *parameters.values()])
    row(name, "x", x)
    for what, p in parameters.items():
        row(name, f"param:{what}", p)
    row(name, "out", y)
    for what, d in zip(["x", *parameters], gradients):
        row(name, f"d:{what}", d)


print("# By scripts/golden/residual.py.")
case("basic/same", basic(4, 4, 1), 3, 4, 5, 6)
case("basic/stride", basic(3, 5, 2), 3, 3, 5, 6)
case("basic/squeeze", basic(4, 4, 1, 2), 3, 4, 5, 4)
case("bottleneck/same", bottleneck(8, 2, 1), 3, 8, 4, 5)
case("bottleneck/stride", bottleneck(6, 2, 2), 3, 6, 5, 6)
case("bottleneck/squeeze", bottleneck(6, 2, 2, 4), 3, 6, 5, 6)
case("squeeze", SqueezeExcite(6, 3), 3, 6, 4, 5)
case("separable/same", Separable(4, 6, 1), 3, 4, 5, 6)
case("separable/stride", Separable(4, 5, 2), 3, 4, 5, 6)
case("resnet", Net(), 4, 2, 6, 5)
