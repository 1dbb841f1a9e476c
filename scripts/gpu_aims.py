"""Says of each aim on a real GPU whether it is reached: python3 gpu_aims.py measures.csv

The rows are those of `scripts/measure-gpu`: peer,version,backend,workload,metric,value.
"""
import csv
import sys

STEPS = ("mlp-a", "mlp-b", "cnn-a", "cnn-8")
CONVOLUTIONS = ("conv64", "conv-64-64-32-b64", "conv-256-256-8-b64")
STREAMS = ("add-16777216", "sum-16777216", "sum-rows-16777216", "sum-columns-16777216")


def read(path):
    """Values by peer ("wgrad", "pytorch"), workload and metric; of PyTorch the best of all backends in 32 bits."""
    values = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if "tf32" in row["backend"]:
                continue
            try:
                value = float(row["value"])
            except ValueError:
                continue
            key = (row["peer"], row["workload"], row["metric"])
            values[key] = max(value, values.get(key, value))
    return values


def main(path):
    values = read(path)
    print("| aim | measured | least or most | reached |\n|---|---|---|---|")

    def say(aim, measured, limit, at_least=True):
        if measured is None:
            print(f"| {aim} | – | {limit:g} | not measured |")
        else:
            is_reached = measured >= limit if at_least else measured <= limit
            print(f"| {aim} | {measured:.3g} | {limit:g} | {'yes' if is_reached else 'no'} |")

    def ratio(above, below, scale=1.0):
        a, b = values.get(above), values.get(below)
        return a / b * scale if a is not None and b else None

    def over_torch(workload, metric, limit):
        ours, theirs = (("wgrad", workload, metric), ("pytorch", workload, metric))
        say(f"{workload}: speed over PyTorch's best in f32", ratio(ours, theirs), limit)

    for workload in STEPS:
        over_torch(workload, "steps_per_s", 1.3)
    for convolution in CONVOLUTIONS:
        over_torch(f"{convolution}-weight-gradient", "gflop_per_s", 0.6)
        over_torch(f"{convolution}-input-gradient", "gflop_per_s", 0.8)
        over_torch(convolution, "gflop_per_s", 0.8)
    for n in (1024, 2048, 4096):
        over_torch(f"matmul-{n}", "gflop_per_s", 0.85)
    for workload, most in (("mlp-a", 7), ("cnn-8", 14), ("transformer", 36)):
        say(f"{workload}: launches", values.get(("wgrad", workload, "dispatches")), most, at_least=False)
    copy = ("wgrad", "copy-16777216", "gb_per_s")
    for stream in STREAMS:
        say(f"{stream}: bandwidth over a copy's", ratio(("wgrad", stream, "gb_per_s"), copy), 0.85)
    for rows in (1, 8):
        # Two operations for each of the matrix's numbers of four bytes and each row.
        product = ("wgrad", f"matmul-{rows}x4096x4096", "gflop_per_s")
        say(f"matmul-{rows}x4096x4096: bandwidth over a copy's", ratio(product, copy, 2 / rows), 0.7)
    for workload in (*STEPS, "matmul-1024", "matmul-4096", "conv64"):
        metric = "steps_per_s" if workload in STEPS else "gflop_per_s"
        gain = ratio(("wgrad", f"tuned-{workload}", metric), ("wgrad", workload, metric))
        say(f"{workload}: what trials gain", gain, 1.05, at_least=False)
    for workload in STEPS:
        say(f"{workload}: first step with an empty cache, s",
            values.get(("wgrad", f"cold-{workload}", "cold_first_step_s")), 0.5, at_least=False)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
