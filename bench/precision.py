"""Training steps of the two networks of `glyphs` in bfloat16 against float32, in turns in one process.

The ratio says whether autocast would pay on this processor; with AMX it does for the convolutions and not for the small
transformer. The suite trains both in float32: that fits the time, and the bytes do not depend on the processor's units.

    python bench/precision.py             # under a minute on 2 cores
"""

import statistics
import time

import torch
from torch.nn import functional

from analysis_lib.models.create import create_model

ROUNDS, STEPS, BATCH = 7, 4, 64
x = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
y = torch.arange(BATCH) % 62


def steps(model, optimizer, precision):
    start = time.perf_counter()
    for _ in range(STEPS):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(x)
        optimizer.zero_grad()
        functional.cross_entropy(logits.float(), y).backward()
        optimizer.step()
    return BATCH * STEPS / (time.perf_counter() - start)


for name in ("glyphs_resnet", "glyphs_vit"):
    model = create_model(name, 62).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    turns = [[steps(model, optimizer, precision) for precision in ("fp32", "bf16")] for _ in range(ROUNDS + 1)][1:]
    plain, half = (statistics.median(column) for column in zip(*turns))
    ratio = statistics.median(b / a for a, b in turns)
    print(
        f"{name}: {plain:.0f} images/s in float32, {half:.0f} in bfloat16: {ratio:.2f} times as fast "
        f"({ROUNDS} rounds, {torch.get_num_threads()} threads)"
    )
