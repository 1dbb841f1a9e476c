"""Everything of PyTorch on a CUDA GPU that `scripts/measure-gpu` compares, in one process: starting one costs seconds.

usage: torch_gpu.py    rows as torch_bench.py prints; BENCH_WINDOWS and BENCH_SECS as there
The backends are cuda (eager, fused Adam), cuda-graph (the step is captured and replayed, fused Adam), cuda-compile (torch.compile
and a graph). All in 32 bits without TF32.
"""
import torch
from torch import nn
from timing import rates

STEPS = {
    "mlp-a": ((64, 784), [784, 128, 10], None),
    "mlp-b": ((256, 784), [784, 512, 512, 10], None),
    "cnn-a": ((64, 1, 28, 28), [1568, 128, 10], True),
    "cnn-8": ((64, 1, 8, 8), [512, 64, 10], False),
}
# Images, channels in and out, side; all 3 x 3.
CONVOLUTIONS = {
    "conv64": (8, 64, 64, 32),
    "conv-64-64-32-b64": (64, 64, 64, 32),
    "conv-256-256-8-b64": (64, 256, 256, 8),
}


def say(backend, workload, metric, value):
    print(f"pytorch,{torch.__version__},{backend},{workload},{metric},{value:.2f}", flush=True)


def median(step):
    step()
    torch.cuda.synchronize()
    values = rates(step, torch.cuda.synchronize)
    return values[len(values) // 2]


def model(widths, pools_twice):
    head = []
    for a, b in zip(widths, widths[1:]):
        head += [nn.ReLU()] * bool(head) + [nn.Linear(a, b)]
    if pools_twice is None:
        return nn.Sequential(*head)
    first = [nn.MaxPool2d(2)] if pools_twice else []
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), *first,
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), *head)


def training_step(backend, shape, widths, pools_twice):
    torch.manual_seed(0)
    x, net = torch.rand(shape), model(widths, pools_twice)
    y = torch.tensor([i * 7 % 10 for i in range(shape[0])])
    is_captured = backend != "cuda"
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, capturable=is_captured, fused=True)

    def forward():
        return nn.functional.cross_entropy(net(x), y)

    if backend == "cuda-compile":
        forward = torch.compile(forward)

    def step():
        optimizer.zero_grad(set_to_none=True)
        forward().backward()
        optimizer.step()

    if not is_captured:
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@torch.no_grad()
def kernels():
    for n in (512, 1024, 2048, 4096):
        a, b = torch.rand(n, n), torch.rand(n, n)
        say("cuda", f"matmul-{n}", "gflop_per_s", median(lambda: a @ b) * 2e-9 * n**3)
    for rows in (1, 8):
        a, b = torch.rand(rows, 4096), torch.rand(4096, 4096)
        say("cuda", f"matmul-{rows}x4096x4096", "gflop_per_s", median(lambda: a @ b) * 2e-9 * rows * 4096**2)
    for name, (images, c, o, side) in CONVOLUTIONS.items():
        x, w, dy = torch.rand(images, c, side, side), torch.rand(o, c, 3, 3), torch.rand(images, o, side, side)
        flop = 2.0 * images * c * o * side * side * 9

        def gradient(mask):
            return torch.ops.aten.convolution_backward(dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)

        directions = {
            "": lambda: torch.conv2d(x, w, padding=1),
            "-input-gradient": lambda: gradient([True, False, False]),
            "-weight-gradient": lambda: gradient([False, True, False]),
        }
        for direction, run in directions.items():
            say("cuda", name + direction, "gflop_per_s", median(run) * flop * 1e-9)


def main():
    torch.set_default_device("cuda")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    kernels()
    for backend in ("cuda-graph", "cuda", "cuda-compile"):
        for workload, of in STEPS.items():
            try:
                say(backend, workload, "steps_per_s", median(training_step(backend, *of)))
            except Exception as error:  # One that a version of PyTorch cannot do is left out.
                print(f"# {workload}, {backend}: {str(error)[:200]}", flush=True)


main()
