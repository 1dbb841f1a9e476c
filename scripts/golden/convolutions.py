#!/usr/bin/env python3
"""Golden values of convolutions along one to three axes, transposed ones and up-sampling: tests/golden/convolutions.csv, which
src/nn/conv_tests.rs reads.

    scripts/golden/convolutions.py > tests/golden/convolutions.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do). Inputs are exact in f32.

The name of a case is what it computes and its numbers: stride, padding (before and after along each axis), dilation, output
padding and groups, each along all axes, or the size and the way of up-sampling. Its rows: `input`s (x, weight and, if there is one,
bias), `out`, and the `gradient` by each input of the sum of the outputs, each times ((5 i) mod 7) / 4 - 3/4.
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(29)


def numbers(*shape, low=-2.0, high=2.0):
    x = torch.rand(*shape) * (high - low) + low
    return (x * 2**4).round() / 2**4


def row(name, what, i, x):
    values = " ".join(f"{v:.11g}" for v in x.detach().flatten().tolist())
    print(f"{name};{what};{i};{'x'.join(map(str, x.shape))};{values}")


def case(name, inputs, f):
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = f(*leaves)
    weights = (torch.arange(y.numel()) * 5 % 7) / 4 - 0.75
    total = (y * weights.reshape(y.shape)).sum()
    for i, x in enumerate(inputs):
        row(name, "input", i, x)
    row(name, "out", 0, y)
    for i, g in enumerate(torch.autograd.grad(total, leaves)):
        row(name, "gradient", i, g)


def words(numbers):
    return ",".join(map(str, numbers))


def padded(padding):
    """Zeros before and after, as F.pad takes them: the innermost axis first."""
    return [n for pair in reversed(padding) for n in pair]


def convolution(size, channels, kernel, stride, padding, dilation, groups=1, bias=True, batch=None):
    axes = len(size)
    batch = batch or (1 if axes == 3 else 2)
    name = f"conv/{words(stride)}/{words(sum(map(list, padding), []))}/{words(dilation)}/{words([0] * axes)}/{groups}"
    c, o = channels
    inputs = [numbers(batch, c, *size), numbers(o, c // groups, *kernel)] + ([numbers(o)] if bias else [])
    f = [F.conv1d, F.conv2d, F.conv3d][axes - 1]

    def run(x, w, b=None):
        return f(F.pad(x, padded(padding)), w, b, stride, 0, dilation, groups)

    case(f"{name}#{words(size)}", inputs, run)


def transposed(size, channels, kernel, stride, padding, output_padding, dilation, groups=1, bias=True, batch=None):
    axes = len(size)
    batch = batch or (1 if axes == 3 else 2)
    both = [n for n in padding for _ in range(2)]
    name = f"transpose/{words(stride)}/{words(both)}/{words(dilation)}/{words(output_padding)}/{groups}"
    c, o = channels
    inputs = [numbers(batch, c, *size), numbers(c, o // groups, *kernel)] + ([numbers(o)] if bias else [])
    f = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][axes - 1]

    def run(x, w, b=None):
        return f(x, w, b, stride, padding, output_padding, groups, dilation)

    case(f"{name}#{words(size)}", inputs, run)


def upsample(shape, size, how, align):
    mode = "nearest" if how == "nearest" else ["linear", "bilinear", "trilinear"][len(size) - 1]
    corners = None if how == "nearest" else align
    name = f"upsample/{words(size)}/{how}/{int(align)}"
    case(f"{name}#{words(shape)}", [numbers(*shape)], lambda x: F.interpolate(x, size, mode=mode, align_corners=corners))


print("# By scripts/golden/convolutions.py.")
convolution([1], (1, 1), [1], [1], [(0, 0)], [1], batch=1)
convolution([9], (3, 4), [3], [1], [(1, 1)], [1])
convolution([11], (2, 3), [4], [2], [(2, 1)], [1], bias=False)
convolution([13], (4, 6), [3], [2], [(4, 0)], [2], groups=2)
convolution([12], (3, 6), [2], [3], [(0, 2)], [3], groups=3)
convolution([40], (5, 7), [5], [1], [(2, 2)], [1])
convolution([5, 4, 7], (2, 3), [3, 3, 3], [1, 1, 1], [(1, 1)] * 3, [1, 1, 1])
convolution([7, 5, 6], (2, 3), [2, 3, 2], [2, 1, 2], [(1, 0), (0, 2), (1, 1)], [1, 1, 1], bias=False)
convolution([9, 7, 5], (2, 4), [3, 2, 3], [2, 2, 1], [(2, 2), (1, 1), (0, 0)], [2, 1, 2], groups=2, batch=1)
convolution([4, 5, 4], (3, 3), [3, 3, 3], [1, 1, 1], [(1, 1)] * 3, [1, 1, 1], groups=3, batch=2)
convolution([6, 5, 3], (3, 2), [3, 1, 1], [2, 1, 1], [(1, 1), (0, 0), (0, 0)], [1, 1, 1])
convolution([3, 5, 7], (3, 2), [1, 1, 3], [1, 1, 2], [(0, 0), (0, 0), (1, 2)], [1, 1, 1])
convolution([3, 5, 7], (3, 2), [1, 3, 3], [1, 1, 2], [(0, 0), (1, 1), (1, 1)], [1, 1, 1])
convolution([3, 5, 7], (3, 2), [3, 3, 2], [1, 2, 1], [(0, 0), (0, 0), (0, 0)], [1, 1, 1])
convolution([3, 4, 5], (3, 4), [1, 1, 1], [1, 1, 1], [(0, 0)] * 3, [1, 1, 1])
convolution([5, 4, 5], (2, 3), [1, 2, 1], [2, 1, 2], [(1, 0), (0, 0), (0, 1)], [1, 1, 1])
transposed([1], (1, 1), [1], [1], [0], [0], [1], batch=1)
transposed([7], (3, 4), [3], [1], [1], [0], [1])
transposed([6], (3, 2), [4], [2], [1], [1], [1], bias=False)
transposed([5], (4, 6), [3], [3], [0], [2], [2], groups=2)
transposed([9], (4, 4), [3], [2], [2], [1], [1], groups=4)
transposed([5, 7], (3, 4), [3, 3], [2, 2], [1, 1], [1, 1], [1, 1])
transposed([4, 5], (2, 3), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1], bias=False)
transposed([3, 4], (4, 6), [2, 3], [3, 2], [0, 2], [2, 1], [2, 3], groups=2)
transposed([6, 5], (3, 5), [1, 1], [1, 1], [0, 0], [0, 0], [1, 1])
transposed([3, 5], (3, 3), [3, 2], [1, 2], [1, 0], [1, 0], [2, 1], groups=3)
transposed([2, 3], (9, 5), [3, 5], [2, 3], [2, 1], [0, 2], [1, 1])
transposed([3, 4, 5], (2, 3), [3, 3, 3], [2, 2, 2], [1, 1, 1], [1, 1, 1], [1, 1, 1], batch=1)
transposed([4, 3, 3], (2, 4), [2, 3, 2], [1, 2, 3], [0, 1, 0], [0, 1, 2], [2, 1, 2], groups=2, batch=1)
transposed([3, 2, 4], (2, 3), [3, 1, 1], [2, 1, 1], [1, 0, 0], [1, 0, 0], [1, 1, 1], bias=False, batch=2)
transposed([3, 2, 4], (2, 3), [1, 3, 2], [1, 2, 1], [0, 1, 0], [0, 1, 0], [1, 1, 1])
transposed([1, 3, 4], (2, 3), [4, 2, 2], [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1])
transposed([3, 2, 4], (2, 3), [1, 1, 3], [1, 1, 2], [0, 0, 1], [0, 0, 1], [1, 1, 1])
for align in (False, True):
    for shape, size in [
        ((2, 3, 5), [10]), ((2, 2, 7), [12]), ((1, 2, 9), [4]), ((1, 2, 1), [6]), ((1, 3, 5), [1]),
        ((2, 2, 3, 5), [6, 10]), ((1, 2, 4, 3), [7, 8]), ((1, 2, 5, 4), [3, 16]), ((2, 1, 1, 1), [3, 4]),
        ((1, 2, 2, 3, 4), [5, 6, 8]),
    ]:
        upsample(shape, size, "linear", align)
for shape, size in [
    ((2, 3, 5), [10]), ((1, 2, 7), [12]), ((1, 2, 9), [4]), ((2, 2, 3, 5), [6, 15]), ((1, 2, 4, 3), [7, 8]),
    ((1, 2, 5, 4), [3, 16]), ((1, 2, 2, 3, 4), [5, 6, 8]),
]:
    upsample(shape, size, "nearest", False)

