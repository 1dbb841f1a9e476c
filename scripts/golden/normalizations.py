#!/usr/bin/env python3
"""Golden values of normalizations and their gradients: tests/golden/normalizations.csv, which src/nn/norm/golden_tests.rs reads.

    scripts/golden/normalizations.py > tests/golden/normalizations.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do): its own functions, but for the root mean square,
which that version does not have. Inputs are exact in f32.

Rows of a case: `input`s, `out`, and the `gradient` by each input of the sum of the outputs, each times ((5 i) mod 7) / 4 - 3/4.
A case of several outputs has one `out` for each.
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(11)


def numbers(*shape, low=-2.0, high=2.0):
    x = torch.rand(*shape) * (high - low) + low
    return (x * 2**12).round() / 2**12


def row(name, what, i, x):
    values = " ".join(f"{v:.13g}" for v in x.detach().flatten().tolist())
    print(f"{name};{what};{i};{'x'.join(map(str, x.shape))};{values}")


def case(name, inputs, f):
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = f(*leaves)
    outs = out if isinstance(out, tuple) else (out,)
    total = 0
    for y in outs:
        weights = (torch.arange(y.numel()) * 5 % 7) / 4 - 0.75
        total = total + (y * weights.reshape(y.shape)).sum()
    for i, x in enumerate(inputs):
        row(name, "input", i, x)
    for i, y in enumerate(outs):
        row(name, "out", i, y)
    for i, d in enumerate(torch.autograd.grad(total, leaves)):
        row(name, "gradient", i, d)


# As f32 has them.
EPS, ALPHA = (torch.tensor(x, dtype=torch.float32).item() for x in (1e-5, 1e-4))

print("# By scripts/golden/normalizations.py.")
images, rows = numbers(2, 6, 2, 3), numbers(5, 8)
weight, bias = numbers(6), numbers(6)
far = numbers(2, 6, 2, 3, low=0.0, high=1.0) + 1000
constant = torch.cat([torch.full((1, 6, 2, 3), 2.5), numbers(1, 6, 2, 3)])

for groups in (1, 2, 3, 6):
    case(f"group-norm={groups}", [images, weight, bias], lambda x, w, b: F.group_norm(x, groups, w, b, EPS))
case("group-norm=2/plain", [images], lambda x: F.group_norm(x, 2, eps=EPS))
case("group-norm=2/scale", [images, weight], lambda x, w: F.group_norm(x, 2, w, eps=EPS))
case("group-norm=3/rows", [numbers(4, 6), weight, bias], lambda x, w, b: F.group_norm(x, 3, w, b, EPS))
case("group-norm=2/eps", [images / 64, weight, bias], lambda x, w, b: F.group_norm(x, 2, w, b, eps=0.125))
case("group-norm=2/far", [far, weight, bias], lambda x, w, b: F.group_norm(x, 2, w, b, EPS))
case("group-norm=2/constant", [constant, weight, bias], lambda x, w, b: F.group_norm(x, 2, w, b, EPS))
case("instance-norm/plain", [images], lambda x: F.instance_norm(x, eps=EPS))
case("instance-norm", [images, weight, bias], lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=EPS))
case("instance-norm/line", [numbers(3, 6, 5), weight, bias], lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=EPS))


def rms_norm(x, w=1.0, eps=2.0**-23):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * w


case("rms-norm", [rows, numbers(8)], rms_norm)
case("rms-norm/plain", [rows], rms_norm)
case("rms-norm/eps", [rows / 64, numbers(8)], lambda x, w: rms_norm(x, w, 0.125))
case("rms-norm/far", [numbers(5, 8) + 1000, numbers(8)], rms_norm)
case("rms-norm/zeros", [torch.cat([torch.zeros(1, 8), rows[1:]])], rms_norm)

for size in (1, 2, 3, 5, 8):
    case(f"local-response-norm={size}", [images * 8], lambda x: F.local_response_norm(x, size, alpha=0.5))
case("local-response-norm=5/usual", [images * 8], lambda x: F.local_response_norm(x, 5, ALPHA))
case("local-response-norm=3/line", [numbers(2, 5, 4)], lambda x: F.local_response_norm(x, 3, alpha=2.0, beta=0.5, k=2.0))

case("weight-norm", [numbers(4, 3), numbers(4, 1)], lambda v, g: torch._weight_norm(v, g, 0))
case("weight-norm/kernels", [numbers(4, 2, 3, 3), numbers(4, 1, 1, 1)], lambda v, g: torch._weight_norm(v, g, 0))


def spectral_norm(w, u, v):
    return w / torch.dot(u, torch.mv(w.reshape(w.shape[0], -1), v))


def power_iteration(w, u):
    matrix = w.reshape(w.shape[0], -1)
    v = F.normalize(torch.mv(matrix.t(), u), dim=0, eps=1e-12)
    return F.normalize(torch.mv(matrix, v), dim=0, eps=1e-12), v


def check_against_the_layer():
    layer = torch.nn.utils.spectral_norm(torch.nn.Linear(5, 4), n_power_iterations=1)
    w, u = layer.weight_orig.detach().clone(), layer.weight_u.clone()
    layer(numbers(2, 5))
    assert torch.allclose(layer.weight, spectral_norm(w, *power_iteration(w, u)), rtol=1e-13)


check_against_the_layer()
w = numbers(4, 2, 3)
case("spectral-norm", [w, numbers(4), numbers(6)], spectral_norm)
case("power-iteration", [w, numbers(4)], power_iteration)
