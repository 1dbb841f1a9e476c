#!/usr/bin/env python3
"""Golden values of activations and their derivatives: tests/golden/activations.csv, which src/nn/activation.rs reads.

    scripts/golden/activations.py > tests/golden/activations.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do). A line is a name, and for each point x, y and dy/dx.
Points are exact in f32. GLU, SwiGLU and softmax are of pairs: y and the derivative of the sum of y times 1, 2, 3, ... by x.
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)

# None on a kink: at the kinks the tests say what is meant.
POINTS = [-100, -30, -12.5, -8, -5.5, -3.25, -2, -1.25, -0.75, -0.625, -0.375, -0.125, -2.0**-10, -2.0**-20,
          2.0**-20, 2.0**-10, 0.125, 0.375, 0.625, 0.75, 1.25, 2, 3.25, 5.5, 6.5, 8, 12.5, 19, 21, 30, 100]


def silu(x):
    return x * torch.sigmoid(x)


def gelu(x):
    # PyTorch adds 1 to erf, which leaves no digits of the tail.
    y = x * 0.5 * torch.erfc(-x / 2**0.5)
    assert torch.allclose(y, F.gelu(x), rtol=1e-14, atol=1e-14)
    return y


def gelu_tanh(x):
    y = x * torch.sigmoid((8 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))
    assert torch.allclose(y, F.gelu(x, approximate="tanh"), rtol=1e-14, atol=1e-14)
    return y


def tanh_shrink(x):
    # Near 0 the difference leaves no digits.
    y = torch.where(x.abs() < 0.01, x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315, x - torch.tanh(x))
    assert torch.allclose(y, F.tanhshrink(x), rtol=1e-14, atol=1e-14)
    return y


ELEMENTWISE = {
    "identity": lambda x: x * 1,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky-relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": gelu,
    "gelu-tanh": gelu_tanh,
    "silu": F.silu,
    "swish": silu,
    "mish": F.mish,
    "sigmoid": torch.sigmoid,
    "log-sigmoid": F.logsigmoid,
    "hard-sigmoid": F.hardsigmoid,
    "hard-swish": F.hardswish,
    "tanh": torch.tanh,
    "hard-tanh": F.hardtanh,
    "tanh-shrink": tanh_shrink,
    "hard-shrink": F.hardshrink,
    "soft-shrink": F.softshrink,
    "softplus": F.softplus,
    "softsign": F.softsign,
}
PAIRS = {
    "glu": F.glu,
    "swiglu": lambda x: x[..., :1] * silu(x[..., 1:]),
    "softmax": lambda x: F.softmax(x, -1),
    "log-softmax": lambda x: F.log_softmax(x, -1),
}


def line(name, x, y, d):
    print(";".join([name] + [" ".join(f"{v:.17g}" for v in t.detach().flatten().tolist()) for t in (x, y, d)]))


print("# By scripts/golden/activations.py.")
for name, f in ELEMENTWISE.items():
    x = torch.tensor(POINTS, requires_grad=True)
    y = f(x)
    line(name, x, y, torch.autograd.grad(y.sum(), x)[0])
for name, f in PAIRS.items():
    x = torch.tensor(POINTS[:30]).reshape(-1, 2).flip(0).clone().requires_grad_()
    y = f(x)
    weights = torch.arange(1.0, y.numel() + 1).reshape(y.shape)
    line(name, x, y, torch.autograd.grad((y * weights).sum(), x)[0])
