"""The memory that the analyses take on large Outputs."""

from ..markdown import number, table


def memory(ref) -> str:
    """Processor time and peak memory of every step of `bench/memory.py`."""
    rows = [[row.step, number(row.seconds, 1), f"{row.peak_mb:,}"] for row in ref.shared("memory").itertuples()]
    return table(rows, ["step", "seconds", "peak MB"])


def memory_size(ref) -> str:
    """The size of the Outputs that were measured."""
    row = ref.shared("memory").iloc[-1]
    return f"{row['n']:,} images with {row['features']:,} features and {row['classes']:,} logits each"


def memory_peak(ref) -> str:
    """The peak memory of the step that takes most."""
    return f"{ref.shared('memory')['peak_mb'].max() / 1000:.1f} GB"
