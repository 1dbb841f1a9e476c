"""Prints what `run` measured as tables: python3 ratios.py peers.csv

Ratios are taken within a round, so that both sides had the same neighbours.
"""
import csv
import statistics
import sys

SPEEDS = ("steps_per_s", "gflop_per_s")
STARTS = ("cold_first_step_s", "cold_first_call_s")
UNITS = {"steps_per_s": "steps/s", "gflop_per_s": "GFLOP/s"}


def digits(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def table(title, heading, rows):
    if not rows:
        return
    print(f"\n{title}\n")
    print("| " + " | ".join(heading) + " |")
    print("|" + "---|" * len(heading))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def on_gpu(backend):
    return backend == "wgpu" or backend.startswith("cuda")


def spread(values):
    middle, low, high = statistics.median(values), min(values), max(values)
    return digits(middle) if low == high else f"{digits(middle)} ({digits(low)}–{digits(high)})"


def main(path):
    # values[metric][workload][(peer, backend)][round]
    values, adapters, loads = {}, {}, []
    workloads, sides = [], []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            side, workload = (row["peer"], row["backend"]), row["workload"]
            if workload not in workloads:
                workloads.append(workload)
            if side not in sides:
                sides.append(side)
            adapters[side] = (row["version"], row["adapter"])
            if row["load"]:
                loads.append(float(row["load"]))
            try:
                value = float(row["value"])
            except ValueError:
                continue
            of_side = values.setdefault(row["metric"], {}).setdefault(workload, {}).setdefault(side, {})
            of_side[int(row["round"])] = value
    if not sides:
        sys.exit(f"{path} has no rows")

    for side in sides:
        print(f"{' '.join(side)} {adapters[side][0]}: {adapters[side][1]}")
    if loads:
        print(f"load average {min(loads):.1f} to {max(loads):.1f}")

    def best_burn(of):
        """The faster of Burn's CPU backends, round by round."""
        backends = [of[side] for side in of if side[0] == "burn" and not on_gpu(side[1])]
        rounds = set().union(*backends) if len(backends) > 1 else ()
        return {r: max(b[r] for b in backends if r in b) for r in rounds}

    rows = []
    for workload in workloads:
        for metric in SPEEDS:
            of = values.get(metric, {}).get(workload, {})
            for ours, is_peer in (("gpu", on_gpu), ("cpu", lambda b: not on_gpu(b))):
                mine = of.get(("wgrad", ours), {})
                peers = [(" ".join(s), of[s]) for s in of if s[0] != "wgrad" and is_peer(s[1])]
                if ours == "cpu":
                    peers.append(("burn, the faster", best_burn(of)))
                for name, theirs in peers:
                    both = sorted(set(mine) & set(theirs))
                    if not both:
                        continue
                    ratios = [mine[r] / theirs[r] for r in both]
                    low, high = min(ratios), max(ratios)
                    rows.append([
                        workload, ours, name, UNITS[metric],
                        spread([mine[r] for r in both]), spread([theirs[r] for r in both]),
                        f"**{statistics.median(ratios):.2f}**", f"{low:.2f}", f"{high:.2f}", str(len(both)),
                    ])
    table("Speed: wgrad's over the peer's, within each round",
          ["workload", "device", "peer", "", "wgrad", "peer", "median ratio", "min", "max", "rounds"], rows)

    rows = []
    for workload in workloads:
        for side in sides:
            start = [v for m in STARTS for v in values.get(m, {}).get(workload, {}).get(side, {}).values()]
            memory = list(values.get("peak_rss_mib", {}).get(workload, {}).get(side, {}).values())
            if start:
                rows.append([workload, " ".join(side), spread(start), spread(memory) if memory else ""])
    table("A process from its start to the end of its first step or call, and its peak memory",
          ["workload", "", "s", "MiB"], rows)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
