"""Untrusted text as HTML: formulas, code, pictures, direction, and bounded work."""

import re
import subprocess
import sys
import time
from html import unescape

import pytest

from app.web import formulas, highlighting, markdown
from app.web.markdown import render_markdown

MOST_CPU_S = 5.0  # many times what the slowest takes; without a limit, some would take minutes
_SEEN = re.compile(r"<[^>]*>")


def _words(text: str) -> str:
    return unescape(_SEEN.sub("", render_markdown(text))).strip()


@pytest.mark.parametrize(
    "text",
    [
        *("$x^2$", r"\(x^2\)", "$$x^2$$", r"\[x^2\]", "$$\nx^2\n$$", "a ($x^2$), b", "**$x^2$**"),
        *("- $x^2$", "| a |\n|--|\n| $x^2$ |", "\\[\nx^2\n= 1\n- 2\n\\]\ntext", "$n$-th"),
        r"\begin{align}" + "\nx^2 &= 1 \\\\\ny &= 2\n" + r"\end{align}",
    ],
)
def test_a_formula_in_its_usual_delimiters_becomes_mathml(text: str) -> None:
    html = render_markdown(text)
    assert html.count("<math") == 1
    assert "$" not in html
    assert "\\" not in html


@pytest.mark.parametrize(
    "text",
    [
        *("It costs $5 and $10.", "$10, or US$ 3", "US$", "$", "$$", "$$$$", "a $ b $ c", "$5–$7"),
        *("I paid $5 for x and you paid y$.", "`$x^2$`", "```\n$x^2$\n```", r"\$x^2\$", "$ x$ $"),
    ],
)
def test_prices_prose_and_code_are_not_formulas(text: str) -> None:
    assert "<math" not in render_markdown(text)


@pytest.mark.parametrize(
    "latex",
    [
        *(r"\href{javascript:z(1)}{x}", r"\includegraphics{http://h/x.png}", r"\frac{a", r"\oops"),
        *(r"\def\a{\a\a}\a", r"\newcommand{\a}{x}\a", r"\input{/etc/passwd}", r"\unicode{x3c}"),
        *(
            r"\class{a}{x}",
            r"\style{color:red}{x}",
            r"\url{javascript:z(1)}",
            "{" * 600,
            "^{" * 300,
        ),
    ],
)
def test_a_formula_that_is_broken_or_does_more_than_show_is_its_source(latex: str) -> None:
    html = render_markdown(f"${latex}$")
    assert "<math" not in html
    assert '<code class="unread">' in html
    assert _words(f"${latex}$") == f"${latex}$"


def test_a_formula_keeps_no_style_no_link_and_no_room_to_cover_anything() -> None:
    html = render_markdown(
        r"$\hspace{-50em}x\hspace{900em}\color{red}{y}\raisebox{9em}{z}\text{<img onerror=z(1)>}$ "
        r"$\begin{cases}1&x\\0&y\end{cases}\boxed{x}\rlap{y}\smash{z}\phantom{x}\hspace{90em}$"
    )
    assert not re.search(r'(style|href|src|id|on\w+|height|depth|voffset)="', html)
    assert "<img" not in html
    widths = [float(one) for one in re.findall(r'width="([-\d.]+)em"', html)]
    assert widths
    assert all(0 <= width <= formulas.MOST_SPACE_EM for width in widths)


def test_code_is_colored_by_classes_and_says_what_it_said() -> None:
    code = "def f(x):  # <b>\n    return 'a' < 3\n"
    html = render_markdown(f"```python\n{code}```")
    assert '<span class="k">def</span>' in html
    assert set(re.findall(r'class="(\w+)"', html)) <= set(highlighting.CLASSES.values())
    assert "style" not in html
    assert unescape(_SEEN.sub("", html)) == f"{code}\n"


@pytest.mark.parametrize("language", sorted(highlighting.LANGUAGES))
def test_every_language_has_a_lexer_that_loses_no_character(language: str) -> None:
    assert highlighting._lexer(language) is not None
    code = "\n\n  a = 'b' /* c */ -- d\n#<e>\r\n\tf(\"g\", 1)\n\n"
    assert unescape(_SEEN.sub("", highlighting.colored(code, language))) == code


def test_unknown_languages_and_long_code_stay_plain() -> None:
    for info, code in (("oops", "a < b"), ('<img onerror="z(1)">', "x"), ("c", "a" * 9000)):
        html = render_markdown(f"```{info}\n{code}\n```")
        assert "<span" not in html
        assert "img" not in html


def test_code_that_takes_long_is_colored_in_part_and_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(highlighting, "MOST_CPU_S", -1.0)
    code = "int x; // late\n" * 50
    html = highlighting.colored(code, "c")
    assert "<span" not in html
    assert unescape(html) == code


def test_a_picture_is_named_and_never_loaded() -> None:
    html = render_markdown("![a <b>cat</b>](http://h/x.png 'title') ![](x)")
    assert "<img" not in html
    assert "http" not in html
    assert _words("![a cat](x)") == "Picture, not loaded a cat"
    assert _words("![](x)") == "Picture, not loaded no description"


def test_each_block_finds_its_own_direction() -> None:
    html = render_markdown(
        "one\n\n- שלום\n\n> quote\n\n# head\n\n| a |\n|--|\n| b |\n\n```\nx\n```"
    )
    for tag in ("p", "ul", "li", "blockquote", "h3", "th", "td"):
        assert f'<{tag} dir="auto">' in html
    assert '<pre dir="ltr">' in html


def test_a_list_keeps_its_first_number() -> None:
    assert '<ol start="3"' in render_markdown("3. three\n4. four")


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("1. a\n" * 9, []),
        ("1. a\n" * 10, ["digits-2"]),
        ("100. a\n", ["digits-3"]),
        ("99. a\n98. b\n", ["digits-3"]),
        ("999999999. a\n", ["digits-5"]),
        ("- a\n" * 10, []),
        ("- a\n\n" + "  7. b\n" * 4, ["digits-2"]),
    ],
)
def test_a_list_says_how_wide_its_numbers_are(text: str, classes: list[str]) -> None:
    assert re.findall(r'class="(digits-\d)"', render_markdown(text)) == classes


N = 24_000
_HOSTILE = {
    "a million dollars": "$" * 1_000_000,
    "dollars apart": "$ " * (N // 2),
    "formulas": "$x$" * (N // 3),
    "opened inline": "\\(" * (N // 2),
    "opened blocks": "\\[\n" * (N // 3),
    "dollar blocks": "$$\n" * (N // 3),
    "environments": "\\begin{align}\n" * (N // 14),
    "braces": "$" + "{" * N + "$",
    "entities": "$&lt;$&#36;" * (N // 12),
    "pictures": "![" * (N // 2),
    "quotes": "> " * 500 + "$$\n",
    "quadratic code": "".join(f"```cs\n{n}\n" + "a\n" * 3900 + "```\n\n" for n in range(N // 8000)),
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_texts_made_to_take_long_do_not(name: str) -> None:
    before = time.process_time()
    html = render_markdown(_HOSTILE[name])
    assert time.process_time() - before < MOST_CPU_S
    assert len(html) < max(40 * N, 2 * len(_HOSTILE[name]))
    assert html.count("<math") <= markdown.MOST_FORMULAS


def test_a_text_too_long_to_be_formatted_is_whole_and_says_so() -> None:
    text = "<b>" + "x" * markdown.MOST_CHARACTERS
    html = render_markdown(text)
    assert "Too long to be formatted" in html
    assert unescape(_SEEN.sub("", html)).endswith(text)


def test_the_deepest_formula_that_is_tried_needs_a_fraction_of_a_stack() -> None:
    # Where the stack ends, so would the process: it must hold with a fourth of the usual one.
    script = f"""
import threading
from app.web import formulas
def descend():
    most = formulas.MOST_NESTING
    for one in ({"{"!r}, "^{{", "{{", "\\\\sqrt", "\\\\hat{{", "\\\\left(", "\\\\cfrac{{1}}{{1+"):
        count = most // max(len(formulas._CAN_NEST.findall(one)), 1)
        formulas.mathml((one * count)[:formulas.MOST_CHARACTERS], is_block=True)
threading.stack_size(2 << 20)
thread = threading.Thread(target=descend)
thread.start()
thread.join()
print("whole")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr
