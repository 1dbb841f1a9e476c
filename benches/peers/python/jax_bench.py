"""JAX (CPU) reference for the four training workloads and the micro-kernels.

usage: jax_bench.py <workload>   (mlp-a mlp-b cnn-a cnn-8 matmul-256/512/1024 conv64)
Prints CSV lines: peer,version,backend,workload,metric,value. One process per workload.
"""
import resource
import sys

# First: it takes the time of the start where none is given.
from timing import rates, since_start

import jax
import jax.numpy as jnp
import numpy as np

WORKLOAD = sys.argv[1]
LR, B1, B2, EPS = 1e-3, 0.9, 0.999, 1e-8


def say(metric, value):
    print(f"jax,{jax.__version__},cpu,{WORKLOAD},{metric},{value}", flush=True)


def lcg(shape):
    state, values = 1, np.empty(int(np.prod(shape)), np.float32)
    for i in range(values.size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values[i] = (state >> 8) / float(1 << 24)
    return jnp.asarray(values.reshape(shape))


def uniform(rng, shape, fan_in):
    k = 1.0 / np.sqrt(fan_in)
    return jnp.asarray(rng.uniform(-k, k, shape).astype(np.float32))


def linear_init(rng, sizes):
    return [(uniform(rng, (a, b), a), uniform(rng, (b,), a)) for a, b in zip(sizes, sizes[1:])]


def mlp(params, x):
    for i, (w, b) in enumerate(params):
        x = (x if i == 0 else jax.nn.relu(x)) @ w + b
    return x


def conv(x, w, b=None):
    y = jax.lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (1, 1)))
    return y if b is None else y + b[None, :, None, None]


def pool(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def make(workload):
    rng = np.random.default_rng(0)
    if workload == "mlp-a":
        return lcg((64, 784)), linear_init(rng, [784, 128, 10]), mlp
    if workload == "mlp-b":
        return lcg((256, 784)), linear_init(rng, [784, 512, 512, 10]), mlp
    convs = [(uniform(rng, (16, 1, 3, 3), 9), uniform(rng, (16,), 9)),
             (uniform(rng, (32, 16, 3, 3), 144), uniform(rng, (32,), 144))]
    big = workload == "cnn-a"
    x = lcg((64, 1, 28, 28) if big else (64, 1, 8, 8))
    head = linear_init(rng, [1568, 128, 10] if big else [512, 64, 10])

    def forward(params, x):
        (c1, c2), head = params
        x = jax.nn.relu(conv(x, *c1))
        if big:
            x = pool(x)
        x = pool(jax.nn.relu(conv(x, *c2)))
        return mlp(head, x.reshape(x.shape[0], -1))

    return x, (convs, head), forward


def train():
    x, params, forward = make(WORKLOAD)
    y = jnp.asarray([i * 7 % 10 for i in range(x.shape[0])])

    def loss_fn(p):
        logits = jax.nn.log_softmax(forward(p, x))
        return -jnp.take_along_axis(logits, y[:, None], 1).mean()

    @jax.jit
    def update(state):
        p, m, v, t = state
        loss, g = jax.value_and_grad(loss_fn)(p)
        t = t + 1
        m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, g)
        v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, g)
        a, b = 1 - B1 ** t, 1 - B2 ** t
        p = jax.tree.map(lambda p, m, v: p - LR * (m / a) / (jnp.sqrt(v / b) + EPS), p, m, v)
        return (p, m, v, t), loss

    zeros = jax.tree.map(jnp.zeros_like, params)
    box = [(params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0)), None]

    def step():
        box[0], box[1] = update(box[0])

    def sync():
        jax.block_until_ready(box)

    step(); sync()
    say("cold_first_step_s", f"{since_start():.3f}")
    first = float(box[1])
    say("loss_step_1", first)
    for _ in range(21):
        step()
    sync()
    early = float(box[1])
    say("warm_22_steps_s", f"{since_start():.3f}")
    say("loss_step_22", early)
    r = rates(step, sync)
    say("steps_per_s", f"{r[len(r) // 2]:.2f}")
    say("steps_per_s_min", f"{r[0]:.2f}")
    say("steps_per_s_max", f"{r[-1]:.2f}")
    last = float(box[1])
    say("loss_last", last)
    say("loss_decreases", str(early < first and last < first).lower())


def micro():
    rng = np.random.default_rng(0)
    if WORKLOAD == "conv64":
        a = jnp.asarray(rng.uniform(-1, 1, (8, 64, 32, 32)).astype(np.float32))
        b = jnp.asarray(rng.uniform(-1, 1, (64, 64, 3, 3)).astype(np.float32))
        f, flop = jax.jit(conv), 2.0 * 8 * 64 * 32 * 32 * 64 * 9
    else:
        n = int(WORKLOAD.split("-")[1])
        a, b = (jnp.asarray(rng.uniform(-1, 1, (n, n)).astype(np.float32)) for _ in range(2))
        f, flop = jax.jit(jnp.matmul), 2.0 * n ** 3
    box = [None]

    def step():
        box[0] = f(a, b)

    def sync():
        box[0].block_until_ready()

    step(); sync()
    say("cold_first_call_s", f"{since_start():.3f}")
    r = rates(step, sync)
    say("gflop_per_s", f"{r[len(r) // 2] * flop * 1e-9:.2f}")
    say("gflop_per_s_max", f"{r[-1] * flop * 1e-9:.2f}")


micro() if WORKLOAD.startswith(("matmul", "conv64")) else train()
say("peak_rss_mib", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")
