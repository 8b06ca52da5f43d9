"""What the project survived: kills, and large inputs."""

from ..markdown import number, table


def kills(ref) -> str:
    """Every phase of `bench/kill_test.py`: its kills, the files and bytes compared afterwards, and what differed."""
    rows = [
        [row.phase, str(row.kills), f"{row.files:,}", number(row.bytes / 1e6, 1), str(row.differ)]
        for row in ref.shared("kill_test").itertuples()
    ]
    return table(rows, ["phase", "kills", "files compared", "MB compared", "files that differ"])


def kills_in_all(ref) -> str:
    """The kills of all phases."""
    return str(ref.shared("kill_test")["kills"].sum())


def kills_left(ref) -> str:
    """The temporary files, held locks and processes that were left after all kills."""
    return str(ref.shared("kill_test")["left"].max())


def loads(ref) -> str:
    """Every step of `bench/load.py`: its size, the seconds it took, and its peak memory."""
    rows = [
        [row.what, row.size, number(row.seconds, 0), f"{row.peak_mb:,}", f"{row.anonymous_mb:,}"]
        for row in ref.shared("load").itertuples()
    ]
    return table(rows, ["step", "size", "seconds", "peak MB", "of it without mapped files, MB"])
