#!/usr/bin/env python3
"""Golden values of losses and their gradients: tests/golden/losses.csv, which src/losses/golden_tests.rs reads.

    scripts/golden/losses.py > tests/golden/losses.csv

With PyTorch in f64 where it has the loss (written with 1.13; Debian's python3-torch will do), else by formulas of this file
that PyTorch differentiates. Parameters are exact in f32, and there are 4 or 8
values, so that a mean is exact too.

Rows of a loss: `input`, `classes`, `weights` of rows; of its reductions: `out`, and `gradient` by each input. After the name,
`+w` has class weights, `+s` label smoothing by 1/8, `+i` an ignored class, `+soft` distributions as targets and `+z` no infinity; `3:` is a loss
of three values.
"""

import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(7)
N, K = 4, 4


def numbers(*shape, low=-2.0, high=2.0):
    # Exact in f32.
    x = torch.rand(*shape) * (high - low) + low
    return (x * 2**16).round() / 2**16


ROWS = []


def values(x):
    return " ".join(f"{v:.13g}" for v in x.detach().flatten().tolist())


def row(name, what, i, x):
    ROWS.append(f"{name};{what};{i};{'x'.join(map(str, x.shape)) or 1};{values(x)}")


def case(name, inputs, loss):
    """Value and gradients of a loss; where it is no scalar, those of the sum of its squares."""
    leaves = [x.clone().requires_grad_(x.dtype == torch.float64) for x in inputs]
    out = loss(*leaves)
    (out if out.dim() == 0 else (out * out).sum()).backward()
    row(name, "out", 0, out)
    for i, x in enumerate(leaves):
        # The gradient of a sum is that of the mean times a number.
        if x.requires_grad and not name.endswith("/sum"):
            row(name, "gradient", i, torch.zeros_like(x) if x.grad is None else x.grad)


def reductions(name, inputs, loss, weighted=True):
    for i, x in enumerate(inputs):
        row(name, "input" if x.dtype == torch.float64 else "classes", i, x)
    for how in ("mean", "sum", "none"):
        case(f"{name}/{how}", inputs, lambda *x: loss(*x, how))
    if not weighted:
        return
    weights = numbers(N, low=0.25, high=2.0)
    row(name, "weights", 0, weights)

    def weighted_mean(*x):
        each = loss(*x, "none")
        return (each * weights.reshape([N] + [1] * (each.dim() - 1))).mean()

    case(f"{name}/weighted", inputs, weighted_mean)


def reduce(each, how):
    return {"mean": each.mean, "sum": each.sum, "none": lambda: each}[how]()


p, t = numbers(N, 2), numbers(N, 2)
positive = lambda *s: numbers(*s, low=0.125, high=3.0)
share = lambda *s: numbers(*s, low=0.0625, high=0.9375)

reductions("mse", [p, t], lambda p, t, r: F.mse_loss(p, t, reduction=r))
reductions("mae", [p, t], lambda p, t, r: F.l1_loss(p, t, reduction=r))
reductions("huber=0.75", [p * 2, t], lambda p, t, r: F.huber_loss(p, t, reduction=r, delta=0.75))
reductions("smooth-l1=0.5", [p * 2, t], lambda p, t, r: F.smooth_l1_loss(p, t, reduction=r, beta=0.5))
reductions("smooth-l1=0", [p * 2, t], lambda p, t, r: F.smooth_l1_loss(p, t, reduction=r, beta=0.0))
reductions("msle", [positive(N, 2), positive(N, 2)], lambda p, t, r: F.mse_loss(torch.log1p(p), torch.log1p(t), reduction=r))
reductions("mape", [p, positive(N, 2)], lambda p, t, r: reduce(100 * (p - t).abs() / t.abs(), r))
reductions("log-cosh", [p * 3, t], lambda p, t, r: reduce(torch.logaddexp(p - t, t - p) - math.log(2), r))
reductions("quantile=0.75", [p, t], lambda p, t, r: reduce(torch.maximum(0.75 * (t - p), -0.25 * (t - p)), r))
reductions("poisson-nll", [p, positive(N, 2)], lambda p, t, r: F.poisson_nll_loss(p, t, reduction=r))
reductions("poisson-nll-full", [p, positive(N, 2)], lambda p, t, r: F.poisson_nll_loss(p, t, full=True, reduction=r))
reductions("poisson-nll-rates", [positive(N, 2), positive(N, 2)], lambda p, t, r: F.poisson_nll_loss(p, t, log_input=False, reduction=r))


def robust(d, alpha, c):
    z = (d / c) ** 2
    if alpha == 2:
        return z / 2
    if alpha == 0:
        return torch.log(z / 2 + 1)
    if alpha == -math.inf:
        return 1 - torch.exp(-z / 2)
    b = abs(alpha - 2)
    return b / alpha * ((z / b + 1) ** (alpha / 2) - 1)


for alpha in (2, 1.5, 1, 0, -2, -math.inf):
    reductions(f"robust={alpha},0.5", [p, t], lambda p, t, r, a=alpha: reduce(robust(p - t, a, 0.5), r), weighted=False)
d = lambda p, t: (p - t).abs()
power = lambda p, t: 2 - 2 / (1 + (d(p, t) / 0.5) ** 2)
reductions("variable-power=0.5", [p, t], lambda p, t, r: reduce(d(p, t) ** power(p, t) / power(p, t), r), weighted=False)

signs = torch.tensor([[1.0, -1], [-1, 1], [1, 1], [-1, -1]])
reductions("hinge", [p, signs], lambda p, t, r: reduce(F.relu(1 - t * p), r))
reductions("squared-hinge", [p, signs], lambda p, t, r: reduce(F.relu(1 - t * p) ** 2, r))
labels = share(N, 2)
hard = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
reductions("bce", [p * 2, labels], lambda p, t, r: F.binary_cross_entropy_with_logits(p, t, reduction=r))
weight = torch.tensor([0.5, 3.0])
reductions("bce+w", [p * 2, labels], lambda p, t, r: F.binary_cross_entropy_with_logits(p, t, reduction=r, pos_weight=weight))
reductions("bce-probabilities", [share(N, 2), labels], lambda p, t, r: F.binary_cross_entropy(p, t, reduction=r))


def focal(p, t, r, alpha=0.25, gamma=2.0):
    # torchvision's sigmoid_focal_loss
    s = torch.sigmoid(p)
    ce = F.binary_cross_entropy_with_logits(p, t, reduction="none")
    p_t = s * t + (1 - s) * (1 - t)
    return reduce((alpha * t + (1 - alpha) * (1 - t)) * ce * (1 - p_t) ** gamma, r)


reductions("binary-focal=2,0.25", [p * 2, hard], focal)
reductions("binary-focal=1.5,0.25", [p * 2, labels], lambda p, t, r: focal(p, t, r, gamma=1.5))

logits = numbers(N, K)
classes = torch.tensor([2, 0, 3, 2])
soft = torch.softmax(numbers(N, K), 1)
soft = (soft * 2**16).round() / 2**16
weights = torch.tensor([0.5, 1.0, 2.0, 0.25])
entropy = lambda **options: lambda z, t, r: F.cross_entropy(z, t, reduction=r, **options)
reductions("cross-entropy", [logits, classes], entropy())
reductions("cross-entropy+soft", [logits, soft], entropy())
reductions("cross-entropy+s", [logits, classes], entropy(label_smoothing=0.125))
reductions("cross-entropy+soft+s", [logits, soft], entropy(label_smoothing=0.125))
reductions("cross-entropy+w", [logits, classes], entropy(weight=weights), weighted=False)
reductions("cross-entropy+w+s", [logits, classes], entropy(weight=weights, label_smoothing=0.125), weighted=False)
reductions("cross-entropy+soft+w+s", [logits, soft], entropy(weight=weights, label_smoothing=0.125))
reductions("cross-entropy+i", [logits, classes], entropy(ignore_index=3), weighted=False)
reductions("cross-entropy+w+i", [logits, classes], entropy(weight=weights, ignore_index=3), weighted=False)
reductions("cross-entropy+w+s+i", [logits, classes], entropy(weight=weights, label_smoothing=0.125, ignore_index=3), weighted=False)
logs = torch.log_softmax(numbers(N, K), 1)
logs = (logs * 2**16).round() / 2**16
reductions("nll", [logs, classes], lambda z, t, r: F.nll_loss(z, t, reduction=r))
reductions("nll+w", [logs, classes], lambda z, t, r: F.nll_loss(z, t, reduction=r, weight=weights), weighted=False)
reductions("nll+i", [logs, classes], lambda z, t, r: F.nll_loss(z, t, reduction=r, ignore_index=2), weighted=False)


def multi_focal(z, t, r, gamma=2.0, w=None):
    log = torch.log_softmax(z, 1)[range(N), t]
    each = -((1 - log.exp()) ** gamma) * log
    return reduce(each if w is None else each * w[t], r)


reductions("focal=2", [logits, classes], multi_focal)
reductions("focal=0.5", [logits, classes], lambda z, t, r: multi_focal(z, t, r, 0.5))
reductions("focal=2+w", [logits, classes], lambda z, t, r: multi_focal(z, t, r, w=weights))
for power in (1, 2):
    reductions(f"multi-margin={power}", [logits, classes], lambda z, t, r, k=power: F.multi_margin_loss(z, t, p=k, reduction=r))
    reductions(f"multi-margin={power}+w", [logits, classes], lambda z, t, r, k=power: F.multi_margin_loss(z, t, p=k, weight=weights, reduction=r))

divergence = lambda q, t, r, **o: reduce(F.kl_div(q, t, reduction="none", **o).sum(1), r)
reductions("kl", [logs, soft], divergence)
reductions("kl-log-target", [logs, torch.log(soft).mul(2**16).round() / 2**16], lambda q, t, r: divergence(q, t, r, log_target=True))
reductions("kl-reverse", [logs, soft], lambda q, t, r: reduce((q.exp() * (q - t.log())).sum(1), r))
reductions("categorical-cross-entropy", [share(N, K), soft], lambda p, t, r: reduce(-(t * p.log()).sum(1), r))
reductions("dice=1", [share(N, K), share(N, K)], lambda p, t, r: reduce(1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1), r))
a, b, c = numbers(N, K), numbers(N, K), numbers(N, K)
ones = torch.ones(N)
reductions("cosine-similarity", [a, b], lambda a, b, r: F.cosine_embedding_loss(a, b, ones, reduction=r))

sides = torch.tensor([1.0, -1, 1, -1])
near = a + c / 4
reductions("3:gaussian-nll", [p, t, positive(N, 2)], lambda m, t, v, r: F.gaussian_nll_loss(m, t, v, reduction=r))
reductions("3:gaussian-nll-full", [p, t, positive(N, 2)], lambda m, t, v, r: F.gaussian_nll_loss(m, t, v, full=True, reduction=r))
reductions("3:cosine-embedding=0.25", [a, near, sides], lambda a, b, y, r: F.cosine_embedding_loss(a, b, y, margin=0.25, reduction=r))
reductions("3:margin-ranking=0.5", [a[:, 0], b[:, 0], sides], lambda a, b, y, r: F.margin_ranking_loss(a, b, y, margin=0.5, reduction=r))
reductions("3:triplet-margin=1", [a, near, b], lambda a, p, n, r: F.triplet_margin_loss(a, p, n, margin=1.0, reduction=r))
alike = torch.tensor([1.0, 0, 1, 0])


def contrastive(a, b, y, r, margin=2.0):
    distance = torch.norm(a - b + 1e-6, dim=1)
    return reduce((y * ((a - b) ** 2).sum(1) + (1 - y) * F.relu(margin - distance) ** 2) / 2, r)


reductions("3:contrastive=2", [a, near, alike], contrastive)


def ctc(blank, zero_infinity=False):
    # Rows of the batch come first here, and a softmax of logits.
    def loss(z, targets, lengths, counts, r):
        y = torch.log_softmax(z, 2).permute(1, 0, 2)
        return F.ctc_loss(y, targets, lengths, counts, blank=blank, reduction=r, zero_infinity=zero_infinity)

    return loss


# Padding of targets is 1, which is a label as well.
few = [numbers(N, 6, 3), torch.tensor([[1, 2, 1], [1, 1, 1], [2, 1, 1], [2, 2, 1]]), torch.tensor([6, 1, 5, 4]), torch.tensor([3, 0, 1, 2])]
reductions("ctc=0", few, ctc(0), weighted=False)
labels = torch.tensor([[0, 1, 3, 4, 0, 1], [3, 3, 3, 1, 1, 1]])
reductions("ctc=2", [numbers(2, 14, 5) * 3, labels, torch.tensor([14, 11]), torch.tensor([6, 4])], ctc(2), weighted=False)
# The second item needs three times and has two, the third one needs two and has one.
short = [numbers(N, 5, 4), torch.tensor([[1, 2], [3, 3], [2, 1], [1, 1]]), torch.tensor([5, 2, 1, 4]), torch.tensor([2, 2, 2, 1])]
reductions("ctc=0+z", short, ctc(0, zero_infinity=True), weighted=False)

if __name__ == "__main__":
    print("# By scripts/golden/losses.py: loss or loss/reduction; what; index; shape; numbers. Do not edit.")
    print("\n".join(ROWS))
