#!/usr/bin/env python3
"""Golden values of attention and transformer layers: tests/golden/transformers.csv, which src/nn/transformer_tests.rs reads.

    scripts/golden/transformers.py > tests/golden/transformers.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do): its MultiheadAttention, TransformerEncoderLayer and
TransformerDecoderLayer, without dropout. Inputs and parameters are exact in f32.

Rows of a case: `x` and `source`, `lengths` of x or, where there is a source, of it; `param:NAME`; `out`; and the gradient by each, `d:NAME`,
of the sum of the outputs, each times ((5 i) mod 7) / 4 - 3/4.
"""

import torch
from torch import nn

torch.set_default_dtype(torch.float64)
torch.manual_seed(29)

WIDTH, HEADS, HIDDEN, BATCH = 8, 2, 12, 2


def numbers(*shape, most=1.0):
    x = (torch.rand(*shape) * 2 - 1) * most
    return (x * 2**10).round() / 2**10


def row(name, what, x):
    values = " ".join(f"{v:.9g}" for v in x.detach().flatten().tolist())
    print(f"{name};{what};0;{'x'.join(map(str, x.shape))};{values}")


def case(name, layer, f, x, source=None, lengths=None):
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(numbers(*p.shape) + (1 if p.shape == (WIDTH,) and "norm" in names(layer)[id(p)] else 0))
    leaves = {"x": x.clone().requires_grad_()}
    if source is not None:
        leaves["source"] = source.clone().requires_grad_()
    y = f(layer, *leaves.values())
    weights = (torch.arange(y.numel()) * 5 % 7) / 4 - 0.75
    total = (y * weights.reshape(y.shape)).sum()
    parameters = dict(layer.named_parameters())
    gradients = torch.autograd.grad(total, [*leaves.values(), *parameters.values()])
    for what, leaf in leaves.items():
        row(name, what, leaf)
    if lengths is not None:
        row(name, "lengths", torch.tensor(lengths))
    for what, p in parameters.items():
        row(name, f"param:{what}", p)
    row(name, "out", y)
    for what, d in zip([*leaves, *parameters], gradients):
        row(name, f"d:{what}", d)


def names(layer):
    return {id(p): name for name, p in layer.named_parameters()}


def causal(n):
    return torch.ones(n, n, dtype=torch.bool).triu(1)


def beyond(lengths, m):
    return torch.arange(m)[None] >= torch.tensor(lengths)[:, None]


print("# By scripts/golden/transformers.py.")
x, source = numbers(BATCH, 5, WIDTH, most=2.0), numbers(BATCH, 7, WIDTH, most=2.0)
attention = lambda: nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
case("attention/plain", attention(), lambda f, x: f(x, x, x)[0], x)
case("attention/causal", attention(), lambda f, x: f(x, x, x, attn_mask=causal(5))[0], x)
case("attention/lengths", attention(), lambda f, x: f(x, x, x, key_padding_mask=beyond([5, 2], 5))[0], x, lengths=[5, 2])
case("attention/cross", attention(), lambda f, x, s: f(x, s, s, key_padding_mask=beyond([3, 7], 7))[0], x, source, [3, 7])
for activations, norm_first in ((("relu", "gelu"), False), (("gelu", "relu"), True)):
    end = "pre" if norm_first else "post"
    options = dict(dropout=0.0, batch_first=True, norm_first=norm_first)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, activation=activations[0], **options)
    pads = beyond([4, 5], 5)
    case(f"encoder/{activations[0]}-{end}", layer, lambda f, x: f(x, src_key_padding_mask=pads), x, lengths=[4, 5])
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, activation=activations[1], **options)
    pads = beyond([7, 4], 7)
    case(
        f"decoder/{activations[1]}-{end}",
        layer,
        lambda f, x, s: f(x, s, tgt_mask=causal(5), memory_key_padding_mask=pads),
        x,
        source,
        [7, 4],
    )
