"""Forward and backward of the Lovász loss beside smp's, on 16 x 512 x 512 pixels with 2 % landslide.

Run with `python -m tests.bench.bench_losses`; the two alternate, so that a busy machine slows both.
"""

import statistics
import time

import torch
from segmentation_models_pytorch.losses import LovaszLoss

from l4s_utils.losses import build_loss

REPEATS = 7


def milliseconds(loss, logits, target):
    """Of one forward and backward pass, waiting for the device."""
    logits = logits.clone().requires_grad_()
    synchronize = torch.cuda.synchronize if logits.is_cuda else lambda: None
    synchronize()
    start = time.perf_counter()
    loss(logits, target).backward()
    synchronize()
    return 1e3 * (time.perf_counter() - start)


def main():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(16, 2, 512, 512, generator=generator).to(device)
    target = (torch.rand(16, 512, 512, generator=generator) < 0.02).long().to(device)
    losses = {"l4s_utils": build_loss("lovasz"), "smp": LovaszLoss("multiclass")}
    times = {name: [] for name in losses}
    for repeat in range(REPEATS + 1):
        for name, loss in losses.items():
            elapsed = milliseconds(loss, logits, target)
            if repeat:  # the first pass warms up
                times[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"lovasz {name:10} {median:8.1f} ms (of {min(times[name]):.1f} to {max(times[name]):.1f})")
    print(f"ratio {medians['smp'] / medians['l4s_utils']:.2f} on {device}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
