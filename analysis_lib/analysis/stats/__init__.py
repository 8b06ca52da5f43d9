"""Statistics over samples and seeds: bootstrap intervals, rank correlation, summaries, and claims as decision rules."""
