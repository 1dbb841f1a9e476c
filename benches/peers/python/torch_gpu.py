"""Everything of PyTorch on a CUDA GPU that `scripts/measure-gpu` compares, in one process: starting one costs seconds.

usage: torch_gpu.py WORKLOAD...    rows as torch_bench.py prints; BENCH_WINDOWS and BENCH_SECS as there
Training steps run as cuda (eager), cuda-graph (captured and replayed) and cuda-compile (torch.compile, captured), all with
Adam as one kernel. All in 32 bits without TF32.
"""
import sys

from timing import rates

import torch
from torch_work import TRAIN, kernel, training_step

BACKENDS = {"cuda": {}, "cuda-graph": {"captured": True}, "cuda-compile": {"captured": True, "compiled": True}}


def say(backend, workload, metric, step, scale=1.0):
    step()
    torch.cuda.synchronize()
    speeds = rates(step, torch.cuda.synchronize)
    print(f"pytorch,{torch.__version__},{backend},{workload},{metric},{speeds[len(speeds) // 2] * scale:.2f}", flush=True)


def measure(backend, workload):
    if workload in TRAIN:
        say(backend, workload, "steps_per_s", training_step(workload, fused=True, **BACKENDS[backend]))
    else:
        with torch.no_grad():
            run, flop = kernel(workload)
            say(backend, workload, "gflop_per_s", run, flop * 1e-9)


torch.set_default_device("cuda")
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True
for name in sys.argv[1:]:
    for way in BACKENDS if name in TRAIN else ["cuda"]:
        try:
            measure(way, name)
        except Exception as error:  # One that this version of PyTorch cannot do is left out.
            print(f"# {name}, {way}: {str(error)[:200]}", flush=True)
