"""The paired bootstrap: time of a table of 20 metrics, and the ratio to a Python loop over resamples.

OMP_NUM_THREADS=1 python bench/bootstrap.py            # some seconds on 1 core
"""

from functools import partial

import torch
from timing import best_of

from analysis_lib.analysis.stats.bootstrap import draw_resamples, resampled_means

torch.set_num_threads(1)
METRICS, RESAMPLES, SAMPLES, SEEDS = 20, 2000, 900, 3
LOOPED = 200  # resamples that the loop does; its full time is this part scaled up


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(n_samples):
    values = (torch.rand(SEEDS, METRICS, n_samples, generator=generator()) < 0.7).double()
    return list(values.masked_fill(torch.rand(values.shape, generator=generator(1)) < 0.5, torch.nan))


def loop(values, sample_counts, seed_counts):
    means = []
    for samples, seeds in zip(sample_counts.long(), seed_counts.long()):
        rows = torch.arange(len(samples)).repeat_interleave(samples)
        drawn = torch.arange(len(seeds)).repeat_interleave(seeds).tolist()
        means.append(torch.stack([values[k][:, rows].nanmean(1) for k in drawn]).mean(0))
    return torch.stack(means)


def bootstrap(values):
    return resampled_means(values, *draw_resamples(values[0].shape[1], SEEDS, generator(), RESAMPLES))


values = problem(SAMPLES)
counts = [part[:LOOPED] for part in draw_resamples(SAMPLES, SEEDS, generator(), RESAMPLES)]
assert torch.allclose(resampled_means(values, *counts), loop(values, *counts))
ours = best_of(5, lambda: bootstrap(values))
python = best_of(2, lambda: loop(values, *counts)) * RESAMPLES / LOOPED
print(f"{METRICS} metrics x {RESAMPLES:,} resamples, N={SAMPLES}, {SEEDS} seeds: {ours:.3f} s (limit 10 s)")
print(f"loop over resamples: {python:.2f} s ({LOOPED} timed); ratio {python / ours:.1f}")
print("growth with N")
for n in (900, 2_700, 8_100):
    seconds = best_of(3, partial(bootstrap, problem(n)))
    print(f"  N={n:>5}: {seconds:.3f} s")
