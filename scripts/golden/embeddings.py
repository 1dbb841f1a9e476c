#!/usr/bin/env python3
"""Golden values of embeddings and positions: tests/golden/embeddings.csv, which src/nn/embedding_tests.rs reads.

    scripts/golden/embeddings.py > tests/golden/embeddings.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do): its own Embedding; rotary positions as products of
complex numbers, and sinusoidal ones by the paper's formula, number by number. Inputs are exact in f32.

Rows of a case: `input`s, `classes`, `out`, and the `gradient` by each input of the sum of the outputs, each times
((5 i) mod 7) / 4 - 3/4.
"""

import cmath
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(13)


def numbers(*shape, low=-2.0, high=2.0):
    x = torch.rand(*shape) * (high - low) + low
    return (x * 2**12).round() / 2**12


def row(name, what, i, x):
    values = " ".join(f"{v:.13g}" for v in x.detach().flatten().tolist())
    print(f"{name};{what};{i};{'x'.join(map(str, x.shape))};{values}")


def case(name, x, f, classes=None):
    leaf = x.clone().requires_grad_()
    y = f(leaf) if classes is None else f(leaf, classes)
    weights = (torch.arange(y.numel()) * 5 % 7) / 4 - 0.75
    total = (y * weights.reshape(y.shape)).sum()
    row(name, "input", 0, x)
    if classes is not None:
        row(name, "classes", 0, classes)
    row(name, "out", 0, y)
    row(name, "gradient", 0, torch.autograd.grad(total, leaf)[0])


print("# By scripts/golden/embeddings.py.")
repeated = torch.tensor([[3, 1, 3], [0, 3, 6], [1, 3, 3]])
for padding in (None, 0, 3, 6):
    name = "embedding" if padding is None else f"embedding={padding}"
    case(name, numbers(7, 4), lambda w, i: F.embedding(i, w, padding_idx=padding), repeated)
case("embedding=1/flat", numbers(5, 3), lambda w, i: F.embedding(i, w, padding_idx=1), torch.tensor([1, 4, 1, 4, 2]))
many = torch.arange(600) * 7919 % 37 % 29
case("embedding=5/many", numbers(300, 4), lambda w, i: F.embedding(i, w, padding_idx=5), many)


def sinusoidal(x, offset):
    time, width = x.shape[-2:]
    encoding = torch.zeros(time, width)
    for t in range(time):
        for i in range(0, width, 2):
            encoding[t, i] = math.sin((t + offset) / 10000 ** (i / width))
            if i + 1 < width:
                encoding[t, i + 1] = math.cos((t + offset) / 10000 ** (i / width))
    return x + encoding


def rotary(x, offset, base, halves):
    time, width = x.shape[-2:]
    half = width // 2
    if halves:
        pairs = torch.complex(x[..., :half], x[..., half:])
    else:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], half, 2))
    turns = [[cmath.exp(1j * (t + offset) * base ** (-2 * i / width)) for i in range(half)] for t in range(time)]
    turned = pairs * torch.tensor(turns, dtype=torch.complex128)
    if halves:
        return torch.cat([turned.real, turned.imag], -1)
    return torch.view_as_real(turned).reshape(x.shape)


for offset in (0, 17):
    case(f"sinusoidal={offset}", numbers(2, 5, 8), lambda x: sinusoidal(x, offset))
    for form in ("pairs", "halves"):
        case(f"rotary={offset}/{form}", numbers(2, 3, 5, 8), lambda x: rotary(x, offset, 10000.0, form == "halves"))
case("sinusoidal=3/odd", numbers(4, 5), lambda x: sinusoidal(x, 3))
case("rotary=1000/pairs-base", numbers(3, 6), lambda x: rotary(x, 1000, 500.0, False))
case("rotary=1000/halves-base", numbers(3, 6), lambda x: rotary(x, 1000, 500.0, True))
