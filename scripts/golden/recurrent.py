#!/usr/bin/env python3
"""Golden values of recurrent layers: tests/golden/recurrent.csv, which src/nn/recurrent/tests.rs reads.

    scripts/golden/recurrent.py > tests/golden/recurrent.csv

With PyTorch in f64 (written with 1.13; Debian's python3-torch will do): its own RNN, LSTM and GRU; lengths by packed sequences. The
GRU whose reset comes before the product is written out, since PyTorch has none. Inputs are exact in f32.

A case is named kind/layers/options. Its rows: `input`s (x, then h and c where there are first states), `classes` (lengths),
`weight`s in the order of named_parameters, `out`s (outputs, last h, last c), and the `gradient` by each input and weight of the sum of
all outs, each times ((5 i) mod 7) / 4 - 3/4.
"""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.set_default_dtype(torch.float64)
torch.manual_seed(17)

INPUTS, HIDDEN, BATCH, TIMES = 3, 4, 3, 5


def numbers(*shape, size=1.0):
    x = (torch.rand(*shape) * 2 - 1) * size
    return (x * 2**12).round() / 2**12


def row(name, what, i, x):
    values = " ".join(f"{v:.13g}" for v in x.detach().flatten().tolist())
    print(f"{name};{what};{i};{'x'.join(map(str, x.shape))};{values}")


class ResetBefore(torch.nn.Module):
    """Cho et al., EMNLP 2014, equations 5 to 8, with biases as in PyTorch's GRU."""

    def __init__(self):
        super().__init__()
        rows = 3 * HIDDEN
        for name, shape in (("weight_ih_l0", (rows, INPUTS)), ("weight_hh_l0", (rows, HIDDEN)), ("bias_ih_l0", (rows,)), ("bias_hh_l0", (rows,))):
            setattr(self, name, torch.nn.Parameter(torch.zeros(*shape)))

    def forward(self, x, state):
        h, all = state[0], []
        for t in range(x.shape[1]):
            of_x = x[:, t] @ self.weight_ih_l0.T + self.bias_ih_l0
            u, b = self.weight_hh_l0, self.bias_hh_l0
            r, z = (torch.sigmoid(of_x[:, k : k + HIDDEN] + h @ u[k : k + HIDDEN].T + b[k : k + HIDDEN]) for k in (0, HIDDEN))
            n = torch.tanh(of_x[:, 2 * HIDDEN :] + (r * h) @ u[2 * HIDDEN :].T + b[2 * HIDDEN :])
            h = (1 - z) * n + z * h
            all.append(h)
        return torch.stack(all, 1), h[None]


def case(kind, layers, *options):
    name = "/".join([kind, str(layers), *options])
    both = "bidirectional" in options
    settings = dict(num_layers=layers, bidirectional=both, bias="no-bias" not in options, batch_first="time-first" not in options)
    if kind == "gru-before":
        layer = ResetBefore()
    else:
        make = {"tanh": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind]
        if kind == "relu":
            settings["nonlinearity"] = "relu"
        layer = make(INPUTS, HIDDEN, **settings)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(numbers(*p.shape, size=0.75))
    dims = (TIMES, BATCH) if "time-first" in options else (BATCH, TIMES)
    inputs = [numbers(*dims, INPUTS, size=2.0)]
    if "initial" in options:
        count = 2 if kind == "lstm" else 1
        inputs += [numbers(layers * (2 if both else 1), BATCH, HIDDEN) for _ in range(count)]
    for i, x in enumerate(inputs):
        row(name, "input", i, x)
        x.requires_grad_()
    x, state = inputs[0], inputs[1:]
    given = (tuple(state) if kind == "lstm" else state[0]) if state else None
    if kind == "gru-before":
        given = given if state else torch.zeros(1, BATCH, HIDDEN)
    if "lengths" in options:
        lengths = torch.tensor([3, 5, 1])
        row(name, "classes", 0, lengths)
        first = "time-first" not in options
        packed = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
        output, last = layer(packed, given)
        output, _ = pad_packed_sequence(output, batch_first=first, total_length=TIMES)
    else:
        output, last = layer(x, given)
    weights = [p for _, p in layer.named_parameters()]
    for i, p in enumerate(weights):
        row(name, "weight", i, p)
    outs = [output, *(last if kind == "lstm" else [last])]
    total = 0
    for i, y in enumerate(outs):
        row(name, "out", i, y)
        factors = (torch.arange(y.numel()) * 5 % 7) / 4 - 0.75
        total = total + (y * factors.reshape(y.shape)).sum()
    for i, d in enumerate(torch.autograd.grad(total, [*inputs, *weights])):
        row(name, "gradient", i, d)


print("# By scripts/golden/recurrent.py.")
for kind in ("tanh", "relu", "lstm", "gru"):
    case(kind, 1)
    case(kind, 1, "no-bias", "initial")
    case(kind, 1, "time-first", "lengths")
    case(kind, 2, "bidirectional", "initial", "lengths")
    case(kind, 3, "time-first", "initial")
case("gru-before", 1)
case("gru-before", 1, "initial")
