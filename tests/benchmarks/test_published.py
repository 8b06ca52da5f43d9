import pytest

from analysis_lib import UserError
from analysis_lib.benchmarks.published import Counts, check_counts, class_order, read_list, seen_classes
from tests.benchmarks import paper_trees


def test_lists_are_divided_at_the_last_space(tmp_path):
    (tmp_path / "list.txt").write_text("Real World/Desk Lamp/00001.jpg 10\n\nArt/Drill/2.jpg 0\n")
    assert read_list(tmp_path, "list.txt") == [("Real World/Desk Lamp/00001.jpg", 10), ("Art/Drill/2.jpg", 0)]


@pytest.mark.parametrize("line", ["Art/Drill/1.jpg", "Art/Drill/1.jpg x", "../Drill/1.jpg 0", "/Drill/1.jpg 0", "7"])
def test_a_bad_line_is_named(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"Art/Drill/2.jpg 0\n{line}\n")
    with pytest.raises(UserError, match="list.txt, line 2: '.*' is no `relative/path label`"):
        read_list(tmp_path, "list.txt")


def test_missing_and_empty_lists(tmp_path):
    with pytest.raises(UserError, match="cannot read .*list.txt"):
        read_list(tmp_path, "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(UserError, match="list.txt is empty"):
        read_list(tmp_path, "list.txt")


def test_orders_are_read_and_not_executed(tmp_path):
    paper_trees.orders(tmp_path, "raise SystemExit\nA = torch.tensor(\n    [3, 1,\n     2])\nB = [0, 2, 1]\n")
    assert class_order(tmp_path, "A") == [3, 1, 2]
    assert class_order(tmp_path, "B") == [0, 2, 1]
    with pytest.raises(UserError, match="has no class order C; give a whole copy"):
        class_order(tmp_path, "C")


@pytest.mark.parametrize(
    "value", ["torch.arange(3)", "[1, 1]", "[True, 2]", "[-1]", "['a']", "open('x')", "[f()]", "[{[]: 1}]"]
)
def test_what_is_no_order_is_refused(tmp_path, value):
    paper_trees.orders(tmp_path, f"A = {value}\n")
    with pytest.raises(UserError, match="A is no list of different class numbers"):
        class_order(tmp_path, "A")


def test_a_damaged_file_of_orders_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read .*HT_HARDCODED.py"):
        class_order(tmp_path, "A")
    paper_trees.orders(tmp_path, "A = [1, 2\n")
    with pytest.raises(UserError, match="HT_HARDCODED.py is no Python"):
        class_order(tmp_path, "A")


def test_the_pool_of_seen_classes_ends_where_the_absent_ones_begin():
    """Also where the head is longer than the order: the published pool is then the whole order (section 10.13)."""
    order = [9 * n % 200 for n in range(200)]  # rows of a head with 1000 columns
    seen = seen_classes(order, 100, 100)
    assert seen == order[:100] and not set(seen) & set(order[100:])
    published_pool = order[: 1000 - 100]
    assert set(published_pool) & set(order[100:]), "the defect: absent classes in the pool"
    with pytest.raises(UserError, match="the class order has 200 classes; expected 30 seen and 35 absent ones"):
        seen_classes(order, 30, 35)


def test_other_counts_name_both():
    import pandas as pd

    rows = pd.DataFrame({"label": [0, 0, 1, 0, 1, 1], "split": ["train"] * 3 + ["test"] * 3})
    check_counts(rows, [0], Counts(3, 2, 3, 1, 2), "Ar-Cl")
    with pytest.raises(UserError, match=r"Ar-Cl have 3 / 2 / 3 / 1 / 2 images .*; expected 3 / 2 / 3 / 2 / 1"):
        check_counts(rows, [0], Counts(3, 2, 3, 2, 1), "Ar-Cl")
