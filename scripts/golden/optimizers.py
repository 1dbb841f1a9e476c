#!/usr/bin/env python3
"""Golden steps of optimizers: tests/golden/optimizers.csv, which tests/optimizers/main.rs reads.

    scripts/golden/optimizers.py > tests/golden/optimizers.csv

A matrix [3, 4] and a vector [4] are moved by gradients that are the same for all optimizers, exact in f32 and of all signs; a
row of an optimizer holds both after a step. With PyTorch in f64 where it has the optimizer (written with 1.13; Debian's
python3-torch will do); NAdam, Lion, LAMB and Muon by their papers' formulas, Muon with an orthogonal matrix by the iteration that its
authors give, in f64.
"""

import math

import torch

torch.set_default_dtype(torch.float64)
torch.manual_seed(11)
STEPS, SHOWN = 30, (1, 2, 7, 30)
SHAPES = ((3, 4), (4,))


def exact(x):
    return (x * 2**16).round() / 2**16


START = [exact(torch.rand(*s) * 4 - 2) for s in SHAPES]
# Mostly of one sign for some steps, so that signs agree and change; a few are 0.
GRADIENTS = [
    [exact((torch.rand(*s) * 2 - 1) * (0.1 if t % 5 == 4 else 1) + torch.sin(torch.tensor(t / 4.0)) / 2) for s in SHAPES]
    for t in range(STEPS)
]
GRADIENTS[3][0][0, 0] = 0
GRADIENTS[8][1][2] = 0


def values(tensors):
    return " ".join(f"{v:.13g}" for x in tensors for v in x.detach().flatten().tolist())


def row(name, step, tensors):
    print(f"{name};{step};{values(tensors)}")


def torchs(name, make):
    params = [x.clone().requires_grad_() for x in START]
    optimizer = make(params)
    for t in range(STEPS):
        for p, g in zip(params, GRADIENTS[t]):
            p.grad = g.clone()
        optimizer.step()
        if t + 1 in SHOWN:
            row(name, t + 1, params)


def ours(name, step):
    params, states = [x.clone() for x in START], [{} for _ in START]
    for t in range(STEPS):
        for i, p in enumerate(params):
            params[i] = step(p, GRADIENTS[t][i], states[i], t + 1)
        if t + 1 in SHOWN:
            row(name, t + 1, params)


def kept(states, name, like):
    return states.get(name, torch.zeros_like(like))


def lion(w, g, s, t, lr=0.01, b1=0.9, b2=0.99, decay=0.1):
    m = kept(s, "m", w)
    w = w * (1 - lr * decay) - lr * torch.sign(b1 * m + (1 - b1) * g)
    s["m"] = b2 * m + (1 - b2) * g
    return w


def adam_direction(w, g, s, t, b1, b2, eps):
    s["m"] = b1 * kept(s, "m", w) + (1 - b1) * g
    s["v"] = b2 * kept(s, "v", w) + (1 - b2) * g * g
    return s["m"] / (1 - b1**t) / ((s["v"] / (1 - b2**t)).sqrt() + eps)


def nadam(w, g, s, t, lr=0.01, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, psi=4e-3):
    # PyTorch 2's; that of 1.13 multiplies by mu once too often in the product one ahead.
    mu = [b1 * (1 - 0.5 * 0.96 ** (i * psi)) for i in range(1, t + 2)]
    g = g + decay * w
    adam_direction(w, g, s, t, b1, b2, eps)
    product = math.prod(mu[:-1])
    ahead = (1 - mu[-2]) * g / (1 - product) + mu[-1] * s["m"] / (1 - product * mu[-1])
    return w - lr * ahead / ((s["v"] / (1 - b2**t)).sqrt() + eps)


def lamb(w, g, s, t, lr=0.01, decay=0.1):
    r = adam_direction(w, g, s, t, 0.9, 0.999, 1e-6) + decay * w
    return w - lr * w.norm() / r.norm() * r


def newton_schulz(x):
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def muon(w, g, s, t, lr=0.01, momentum=0.95, decay=0.1, nesterov=True):
    if w.dim() == 1:
        return w * (1 - lr * decay) - lr * adam_direction(w, g, s, t, 0.9, 0.999, 1e-8)
    s["b"] = momentum * kept(s, "b", w) + (1 - momentum) * g
    direction = (1 - momentum) * g + momentum * s["b"] if nesterov else s["b"]
    scale = 0.2 * max(w.shape) ** 0.5
    return w * (1 - lr * decay) - lr * scale * newton_schulz(direction)


O = torch.optim
print("start;0;" + values(START))
for t, gradients in enumerate(GRADIENTS):
    row("gradient", t + 1, gradients)
torchs("sgd", lambda p: O.SGD(p, lr=0.1))
torchs("sgd decay", lambda p: O.SGD(p, lr=0.1, weight_decay=0.25))
torchs("momentum", lambda p: O.SGD(p, lr=0.1, momentum=0.875, weight_decay=0.25))
torchs("nesterov", lambda p: O.SGD(p, lr=0.1, momentum=0.875, nesterov=True))
torchs("adagrad", lambda p: O.Adagrad(p, lr=0.1))
torchs("adagrad all", lambda p: O.Adagrad(p, lr=0.1, lr_decay=0.125, weight_decay=0.25, initial_accumulator_value=0.5))
torchs("adadelta", lambda p: O.Adadelta(p, lr=1.0))
torchs("adadelta all", lambda p: O.Adadelta(p, lr=0.5, rho=0.75, eps=2**-10, weight_decay=0.25))
torchs("rmsprop", lambda p: O.RMSprop(p, lr=0.01))
torchs("rmsprop all", lambda p: O.RMSprop(p, lr=0.01, alpha=0.9, eps=2**-10, weight_decay=0.25, momentum=0.875, centered=True))
torchs("rprop", lambda p: O.Rprop(p, lr=0.01))
torchs("rprop all", lambda p: O.Rprop(p, lr=0.0625, etas=(0.25, 1.5), step_sizes=(2**-8, 0.5)))
torchs("adam", lambda p: O.Adam(p, lr=0.01))
torchs("adam all", lambda p: O.Adam(p, lr=0.01, betas=(0.75, 0.875), eps=2**-10, weight_decay=0.25, amsgrad=True))
torchs("adamw", lambda p: O.AdamW(p, lr=0.01, weight_decay=0.25))
torchs("adamw amsgrad", lambda p: O.AdamW(p, lr=0.01, weight_decay=0.25, amsgrad=True))
torchs("adamax", lambda p: O.Adamax(p, lr=0.01))
torchs("adamax all", lambda p: O.Adamax(p, lr=0.01, betas=(0.75, 0.875), eps=2**-10, weight_decay=0.25))
ours("nadam", nadam)
ours("nadam all", lambda *a: nadam(*a, b1=0.75, b2=0.875, eps=2**-10, decay=0.25, psi=0.125))
torchs("radam", lambda p: O.RAdam(p, lr=0.01))
torchs("radam all", lambda p: O.RAdam(p, lr=0.01, betas=(0.75, 0.9375), eps=2**-10, weight_decay=0.25))
ours("lion", lion)
ours("lamb", lamb)
ours("muon", muon)
ours("muon plain", lambda *a: muon(*a, nesterov=False))
