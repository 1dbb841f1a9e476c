"""PyTorch reference for the four training workloads and the micro-kernels.

usage: torch_bench.py <workload>   (mlp-a mlp-b cnn-a cnn-8 matmul-N conv64 conv64-input-gradient
conv64-weight-gradient)
BENCH_TORCH: cpu (default); cuda, without TF32; cuda-tf32; cuda-graph, where the training step is captured once
and replayed.
Prints CSV lines: peer,version,backend,workload,metric,value. One process per workload.
"""
import os
import resource
import sys

# First: it takes the time of the start where none is given.
from timing import rates, since_start

import torch
from torch import nn

torch.set_num_threads(int(os.environ.get("BENCH_THREADS", 2)))
WORKLOAD = sys.argv[1]
BACKEND = os.environ.get("BENCH_TORCH", "cpu")
if BACKEND not in ("cpu", "cuda", "cuda-tf32", "cuda-graph"):
    sys.exit(f"BENCH_TORCH={BACKEND} is none of cpu, cuda, cuda-tf32, cuda-graph")
DEVICE = BACKEND.split("-")[0]
torch.set_default_device(DEVICE)
torch.backends.cuda.matmul.allow_tf32 = BACKEND == "cuda-tf32"
torch.backends.cudnn.allow_tf32 = BACKEND == "cuda-tf32"
torch.backends.cudnn.benchmark = True
if DEVICE == "cuda":
    print(f"# {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}", file=sys.stderr)


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def say(metric, value):
    print(f"pytorch,{torch.__version__},{BACKEND},{WORKLOAD},{metric},{value}", flush=True)


def mlp(sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.ReLU()] * bool(layers) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def cnn(pool_after_conv1, head):
    first = [nn.MaxPool2d(2)] if pool_after_conv1 else []
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), *first,
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), mlp(head))


TRAIN = {
    "mlp-a": ((64, 784), lambda: mlp([784, 128, 10])),
    "mlp-b": ((256, 784), lambda: mlp([784, 512, 512, 10])),
    "cnn-a": ((64, 1, 28, 28), lambda: cnn(True, [1568, 128, 10])),
    "cnn-8": ((64, 1, 8, 8), lambda: cnn(False, [512, 64, 10])),
}


def train():
    shape, build = TRAIN[WORKLOAD]
    torch.manual_seed(0)
    x, model = torch.rand(shape), build()
    y = torch.tensor([i * 7 % 10 for i in range(shape[0])])
    captured = BACKEND == "cuda-graph"
    optim = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=captured)
    loss_fn = nn.CrossEntropyLoss()

    def eager():
        optim.zero_grad(set_to_none=True)
        loss = loss_fn(model(x), y)
        loss.backward()
        optim.step()
        return loss

    step = eager
    if captured:
        # A few steps beside the main stream, as PyTorch's notes on CUDA graphs ask for, then one that is recorded.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                eager()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        optim.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            recorded = eager()

        def step():
            graph.replay()
            return recorded

    first = float(step())
    say("cold_first_step_s", f"{since_start():.3f}")
    say("loss_step_1", first)
    for _ in range(20):
        step()
    early = float(step())
    say("warm_22_steps_s", f"{since_start():.3f}")
    say("loss_step_22", early)
    r = rates(step, wait)
    say("steps_per_s", f"{r[len(r) // 2]:.2f}")
    say("steps_per_s_min", f"{r[0]:.2f}")
    say("steps_per_s_max", f"{r[-1]:.2f}")
    last = float(step())
    say("loss_last", last)
    say("loss_decreases", str(early < first and last < first).lower())


@torch.no_grad()
def micro():
    if WORKLOAD.startswith("conv64"):
        a, b, dy = torch.rand(8, 64, 32, 32), torch.rand(64, 64, 3, 3), torch.rand(8, 64, 32, 32)
        flop = 2.0 * 8 * 64 * 32 * 32 * 64 * 9

        def gradient(mask):
            return torch.ops.aten.convolution_backward(
                dy, a, b, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)

        f = {
            "conv64": lambda: torch.conv2d(a, b, padding=1),
            "conv64-input-gradient": lambda: gradient([True, False, False]),
            "conv64-weight-gradient": lambda: gradient([False, True, False]),
        }[WORKLOAD]
    else:
        n = int(WORKLOAD.split("-")[1])
        a, b = torch.rand(n, n), torch.rand(n, n)
        f, flop = lambda: a @ b, 2.0 * n ** 3
    f()
    wait()
    say("cold_first_call_s", f"{since_start():.3f}")
    r = rates(f, wait)
    say("gflop_per_s", f"{r[len(r) // 2] * flop * 1e-9:.2f}")
    say("gflop_per_s_max", f"{r[-1] * flop * 1e-9:.2f}")


train() if WORKLOAD in TRAIN else micro()
say("peak_rss_mib", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")
