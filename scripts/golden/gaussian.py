#!/usr/bin/env python3
"""Golden values of the divergence of normal distributions from the standard one: tests/golden/gaussian.csv, which
src/losses/gaussian.rs reads.

    scripts/golden/gaussian.py > tests/golden/gaussian.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do), by torch.distributions: summed over all axes but the
first, the mean over rows. Inputs are exact in f32, and there are 2, 4 or 8 rows, so that a mean is exact too.

Rows of a case: the `input`s mean and log variance, `out`, and the `gradient` by each.
"""

import torch
from torch.distributions import Normal, kl_divergence

torch.set_default_dtype(torch.float64)
torch.manual_seed(17)


def numbers(*shape, low=-2.0, high=2.0):
    x = torch.rand(*shape) * (high - low) + low
    return (x * 2**12).round() / 2**12


def row(name, what, i, x):
    values = " ".join(f"{v:.13g}" for v in x.detach().flatten().tolist())
    print(f"{name};{what};{i};{'x'.join(map(str, x.shape)) or 1};{values}")


def case(name, mean, log_variance):
    leaves = [x.clone().requires_grad_() for x in (mean, log_variance)]
    q = Normal(leaves[0], (0.5 * leaves[1]).exp())
    kl = kl_divergence(q, Normal(torch.zeros(()), torch.ones(())))
    out = kl.reshape(len(mean), -1).sum(1).mean()
    row(name, "input", 0, mean)
    row(name, "input", 1, log_variance)
    row(name, "out", 0, out)
    for i, gradient in enumerate(torch.autograd.grad(out, leaves)):
        row(name, "gradient", i, gradient)


print("# By scripts/golden/gaussian.py: case; what; index; shape; numbers. Do not edit.")
case("kl/rows", numbers(8, 5), numbers(8, 5))
case("kl/one axis", numbers(8), numbers(8, low=-4.0, high=3.0))
case("kl/images", numbers(2, 3, 2, 2), numbers(2, 3, 2, 2))
case("kl/narrow", numbers(4, 3, low=-0.125, high=0.125), numbers(4, 3, low=-60.0, high=-20.0))
case("kl/wide", numbers(4, 3, low=-30.0, high=30.0), numbers(4, 3, low=3.0, high=9.0))
