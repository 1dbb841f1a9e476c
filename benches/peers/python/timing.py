"""What the frameworks' benches share: rows, and speeds of repeated steps."""
import os
import time

T0 = int(os.environ.get("BENCH_T0_NS", time.time_ns()))
WINDOWS = int(os.environ.get("BENCH_WINDOWS", 7))
SECS = float(os.environ.get("BENCH_SECS", 1.0))


def since_start():
    return (time.time_ns() - T0) * 1e-9


def rates(step, sync):
    """Steps a second of each window, ascending; `sync` waits until all steps have run."""

    def seconds(steps):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        sync()
        return time.perf_counter() - start

    steps = 1
    while (elapsed := seconds(steps)) < SECS / 2:
        steps *= 2
    steps = max(1, round(steps * SECS / elapsed))
    return sorted(steps / seconds(steps) for _ in range(WINDOWS))
