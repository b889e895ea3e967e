"""The difference of two texts gives both texts back, and nothing where they say the same."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain import text_diff
from app.domain.text_diff import PieceKind, pieces

LINES = st.lists(st.sampled_from(["one", "two words", "three  here", "", "- four"]), max_size=12)
TEXTS = LINES.map("\n".join)


def _side(old: str, new: str, kind: PieceKind) -> str:
    return "".join(one.text for one in pieces(old, new) if one.kind in {PieceKind.SAME, kind})


@given(TEXTS, TEXTS)
def test_each_side_can_be_put_together_again(old: str, new: str) -> None:
    found = pieces(old, new)
    if any(one.kind is PieceKind.GAP for one in found) or not found:
        return
    assert _side(old, new, PieceKind.OLD).strip() == old.strip()
    assert _side(old, new, PieceKind.NEW).strip() == new.strip()


@given(TEXTS)
def test_the_same_text_has_no_difference(text: str) -> None:
    assert pieces(text, text) == []
    assert pieces(text, "\n" + text.replace("\n", "\r\n") + "  ") == []


def test_only_the_words_that_changed_are_marked() -> None:
    found = [one for one in pieces("Be kind to them.", "Be fair to them.") if one.kind != "same"]
    assert [(str(one.kind), one.text) for one in found] == [("old", "kind"), ("new", "fair")]


def test_what_stayed_the_same_is_cut_to_a_few_lines_around_the_change() -> None:
    lines = [f"line {at}" for at in range(40)]
    changed = [*lines[:20], "another", *lines[21:]]
    found = pieces("\n".join(lines), "\n".join(changed))
    gaps = [one.lines for one in found if one.kind is PieceKind.GAP]
    assert gaps == [20 - text_diff.AROUND, 19 - text_diff.AROUND]
    shown = "".join(one.text for one in found)
    assert "line 18\n" in shown
    assert "line 17\n" not in shown


def test_a_gap_never_hides_a_single_line() -> None:
    lines = [f"line {at}" for at in range(7)]
    old, new = "\n".join(["a", *lines[:5], "b"]), "\n".join(["x", *lines[:5], "y"])
    assert all(one.kind is not PieceKind.GAP for one in pieces(old, new))


def test_a_long_text_with_one_change_is_compared_at_once() -> None:
    old = "\n".join(f"rule {at} the same words again and again" for at in range(3000))
    assert len(pieces(old, old + "\none more")) == 3
