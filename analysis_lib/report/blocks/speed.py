"""What was measured about the speed of training and extraction on a CPU."""

from ..markdown import number, table


def speed(ref, area: str) -> str:
    """The rows of `bench/cpu_path.py` whose area begins with `area`, such as `training`."""
    rows = [
        [row.area.removeprefix(f"{area}, "), row.name, *_rates(row), number(row.ratio, 2), row.note]
        for row in ref.shared("speed").itertuples()
        if row.area.startswith(area) and row.unit == "images/s"
    ]
    return table(
        rows, ["network", "in its place", "the suite, images/s", "in its place, images/s", "ratio", "beside it"]
    )


def speed_made_on(ref) -> str:
    """The date and the instruction set of the measurements."""
    row = ref.shared("speed").iloc[0]
    return f"{row['made_on']}, {row['level']}"


def half_accuracy(ref, column: str) -> str:
    """In accuracy points: the largest change under bfloat16 (`other`), or half of the interval there (`ours`)."""
    frame = ref.shared("speed")
    return number(100 * frame.loc[frame["unit"] == "accuracy", column].item(), 1)


def _rates(row) -> list[str]:
    return [number(rate, 0) for rate in (row.ours, row.other)]
