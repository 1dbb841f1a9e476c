#!/usr/bin/env python3
"""The table in src/losses/adaptive.rs: log Z(alpha) of Barron's adaptive loss (CVPR 2019, equation 17), as the
coefficients of a cubic B-spline over tau = log(alpha / (2 - alpha)).

Z(alpha) is the integral of exp(-rho(x, alpha, 1)), here by the double-exponential rule. Known values:
Z(0) = pi sqrt 2, Z(1) = 2 e K1(1), Z(2) = sqrt(2 pi).

    scripts/golden/partition.py

prints the coefficients and the largest error of the spline. Needs numpy.
"""

import math

import numpy as np

LOW, HIGH, INTERVALS = 0.001, 1.999, 48


def rho(x, alpha):
    square = x * x
    if alpha == 0:
        return np.log1p(square / 2)
    if alpha == 2:
        return square / 2
    b = 2 - alpha
    return b / alpha * np.expm1(alpha / 2 * np.log1p(square / b))


NODES = np.linspace(0, 4.2, 20001)
X = np.sinh(np.pi / 2 * np.sinh(NODES))
DX = np.pi / 2 * np.cosh(NODES) * np.cosh(np.pi / 2 * np.sinh(NODES))


def log_z(alpha):
    with np.errstate(all="ignore"):
        f = np.exp(-rho(X, alpha)) * DX
    f[~np.isfinite(f)] = 0
    return math.log(2 * (NODES[1] - NODES[0]) * (f.sum() - f[0] / 2))


def tau(alpha):
    return np.log(alpha) - np.log(2 - alpha)


def coefficients():
    first, last = tau(LOW), tau(HIGH)
    step = (last - first) / INTERVALS
    at = first + np.arange(INTERVALS + 1) * step
    y = [log_z(2 / (1 + math.exp(-t))) for t in at]
    n = INTERVALS + 3
    m, r = np.zeros((n, n)), np.zeros(n)
    for i in range(INTERVALS + 1):
        m[i, i : i + 3] = 1 / 6, 4 / 6, 1 / 6
        r[i] = y[i]
    # The third derivative is continuous at the first and the last inner knot.
    m[n - 2, :5] = m[n - 1, -5:] = 1, -4, 6, -4, 1
    return np.linalg.solve(m, r).astype(np.float32), first, step


def basis(t):
    t = np.abs(t)
    return (np.maximum(0, 2 - t) ** 3 - 4 * np.maximum(0, 1 - t) ** 3) / 6


if __name__ == "__main__":
    assert abs(log_z(0) - math.log(math.pi * math.sqrt(2))) < 1e-12
    assert abs(log_z(2) - math.log(math.sqrt(2 * math.pi))) < 1e-12
    found, first, step = coefficients()
    alphas = np.concatenate([np.linspace(LOW, HIGH, 997), 2 - np.logspace(-3, -1, 400), np.logspace(-3, -1, 400)])
    at = (tau(alphas) - first) / step
    values = sum(float(c) * basis(at - (i - 1)) for i, c in enumerate(found))
    error = max(abs(v - log_z(a)) for v, a in zip(values, alphas))
    print(f"// From {np.float32(first)!s} in steps of {np.float32(step)!s}; off by {error:.1e} at most.")
    for i in range(0, len(found), 8):
        print("    " + ", ".join(str(c) for c in found[i : i + 8]) + ",")
