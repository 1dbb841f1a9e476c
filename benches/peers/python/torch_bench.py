"""PyTorch reference for the four training workloads and the micro-kernels.

usage: torch_bench.py <workload>   (mlp-a mlp-b cnn-a cnn-8, or a kernel of torch_work.py)
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
from torch_work import TRAIN, kernel, training_step

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


def train():
    step = training_step(WORKLOAD, captured=BACKEND == "cuda-graph")
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
    f, flop = kernel(WORKLOAD)
    f()
    wait()
    say("cold_first_call_s", f"{since_start():.3f}")
    r = rates(f, wait)
    say("gflop_per_s", f"{r[len(r) // 2] * flop * 1e-9:.2f}")
    say("gflop_per_s_max", f"{r[-1] * flop * 1e-9:.2f}")


train() if WORKLOAD in TRAIN else micro()
say("peak_rss_mib", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")
