"""The paired bootstrap: time of a table of 20 metrics, and the ratio to a Python loop over resamples.

    OMP_NUM_THREADS=1 python bench/bootstrap.py            # some seconds on 1 core
"""

from functools import partial

import torch
from timing import best_of

from analysis_lib.analysis.stats.bootstrap import bootstrap_differences, bootstrap_means, draw_resamples, resampled_means

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


values, names = problem(SAMPLES), [str(row) for row in range(METRICS)]
pairs = list(zip(names[::2], names[1::2]))
counts = [part[:LOOPED] for part in draw_resamples(SAMPLES, SEEDS, generator(), RESAMPLES)]
assert torch.allclose(resampled_means(values, *counts), loop(values, *counts))
ours = best_of(5, lambda: bootstrap_means(values, names, generator(), RESAMPLES))
differences = best_of(5, lambda: bootstrap_differences(values, names, pairs, generator(), RESAMPLES))
python = best_of(2, lambda: loop(values, *counts)) * RESAMPLES / LOOPED
print(f"{METRICS} metrics x {RESAMPLES:,} resamples, N={SAMPLES}, {SEEDS} seeds: {ours:.3f} s (limit 10 s); {len(pairs)} differences: {differences:.3f} s")
print(f"loop over resamples: {python:.2f} s ({LOOPED} timed); ratio {python / ours:.1f}")
print("growth with N")
for n in (900, 2_700, 8_100):
    seconds = best_of(3, partial(bootstrap_means, problem(n), names, generator(), RESAMPLES))
    print(f"  N={n:>5}: {seconds:.3f} s")
