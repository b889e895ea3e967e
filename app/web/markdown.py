"""Untrusted Markdown as HTML, with formulas and colored code.

`render_markdown` is the only function that turns untrusted text into HTML; a test forbids `Markup`
and `|safe` everywhere else. Raw HTML is text, links keep their words, and an image is named by its
alternative text: nothing is loaded from anywhere. Every block finds its own direction.
"""

import re
from collections.abc import MutableMapping, Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup

from app.web import formulas, highlighting

MOST_CHARACTERS = 200_000  # a longer text is shown as it is: some texts take time quadratic in it
MOST_BRACKETS = 2000  # a text with more has no links and pictures, which take quadratic time
MOST_FORMULAS = 500
MOST_DIGITS = 5  # lists with longer numbers look alike
_PAIRS = {"$$": ("$$", True), "\\[": ("\\]", True), "\\(": ("\\)", False), "$": ("$", False)}
_ENVIRONMENT = re.compile(r"\\begin\{((?:align|equation|gather|multline)\*?)\}")
_PROSE = re.compile(r"[^\W\d_]{2,}[,;:]?\s+[^\W\d_]{2,}|^\d.*\s[^\W\d_]{2,}")  # words, or a price
_DIRECTED = {
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "th", "td"),
}
_TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "span", "div"),
    *("ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *formulas.TAGS,
}
_ATTRIBUTES = {tag: {"dir"} for tag in _DIRECTED}
_ATTRIBUTES |= {tag: set(formulas.ATTRIBUTES) for tag in formulas.TAGS}
_ATTRIBUTES |= {
    "ol": {"dir", "start", "class"},
    "pre": {"dir"},
    "span": {"class"},
    "div": {"class"},
}
_ATTRIBUTES |= {"code": {"class"}}
_UNFORMATTED = (
    '<p><span class="chip">Too long to be formatted, shown as raw text</span></p>'
    '<pre dir="auto">{}</pre>'
)
_cleaner = nh3.Cleaner(tags=_TAGS, attributes=_ATTRIBUTES, url_schemes=set(), link_rel=None)


def render_markdown(text: str) -> Markup:
    """Render untrusted Markdown without raw HTML, links or pictures.

    A text of more than `MOST_CHARACTERS` is shown as it is, and says so.
    """
    if len(text) > MOST_CHARACTERS:
        return Markup(_UNFORMATTED.format(escape(text)))
    markdown = _markdown if text.count("[") <= MOST_BRACKETS else _without_links
    return Markup(_cleaner.clean(markdown.render(text)))


def _direct_blocks(state: StateCore) -> None:
    for token in state.tokens:
        if token.nesting == 1 and token.tag in _DIRECTED:
            token.attrSet("dir", "auto")


def _lower_headings(state: StateCore) -> None:
    # Headings inside a completion must not break the outline of the page.
    for token in state.tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"


def _measure_numbers(state: StateCore) -> None:
    """Tell the style sheet how many digits a list's last number has, where it has more than one."""
    lists: list[Token] = []
    items: list[int] = []
    for token in state.tokens:
        if token.type in {"ordered_list_open", "bullet_list_open"}:
            lists.append(token)
            items.append(0)
        elif token.type == "list_item_open":
            items[-1] += 1
        elif token.type in {"ordered_list_close", "bullet_list_close"}:
            opened, last = lists.pop(), items.pop() - 1
            digits = len(str(int(opened.attrs.get("start", 1)) + last))
            if opened.tag == "ol" and digits > 1:
                opened.attrSet("class", f"digits-{min(digits, MOST_DIGITS)}")


def _inline_formula(state: StateInline, silent: bool) -> bool:
    source, start = state.src, state.pos
    opening = source[start : start + 2]
    if opening not in _PAIRS:
        opening = opening[:1]
    if opening not in _PAIRS or (opening == "$" and source[start - 1 : start] == "$"):
        return False
    closing, is_block = _PAIRS[opening]
    end = _end_of(source, start + len(opening), closing)
    if end < 0:
        return _skip_dollars(state, silent)
    latex = source[start + len(opening) : end]
    if opening == "$" and not _is_formula(latex, source[end + 1 : end + 2]):
        return _skip_dollars(state, silent)
    if not latex.strip():
        return _skip_dollars(state, silent)
    if not silent:
        _push(state, latex, opening, closing, is_block)
    state.pos = end + len(closing)
    return True


def _end_of(source: str, start: int, closing: str) -> int:
    """Return where a formula ends, or -1; as far as the longest formula, so that it takes O(1)."""
    limit = min(start + formulas.MOST_CHARACTERS + len(closing), len(source))
    end = source.find(closing, start, limit)
    while end > 0 and closing[0] == "$" and source[end - 1] == "\\":
        end = source.find(closing, end + 1, limit)
    return end


def _is_formula(latex: str, after: str) -> bool:
    """Return whether text between dollar signs is a formula rather than two prices or prose."""
    if not latex or latex[0].isspace() or latex[-1].isspace() or after.isdigit():
        return False
    return "\\" in latex or not _PROSE.search(latex)


def _skip_dollars(state: StateInline, silent: bool) -> bool:
    """Take a run of dollar signs as text at once; leave a backslash to the other rules."""
    if state.src[state.pos] != "$":
        return False
    end = state.pos
    while end < state.posMax and state.src[end] == "$":
        end += 1
    if not silent:
        state.pending += state.src[state.pos : end]
    state.pos = end
    return True


def _push(
    state: StateInline | StateBlock, latex: str, opening: str, closing: str, is_block: bool
) -> Token:
    token = state.push("formula", "", 0)
    token.content = latex
    token.markup = opening
    token.info = closing
    token.block = is_block
    token.meta = {"is_late": _count(state.env) > MOST_FORMULAS}
    return token


def _count(env: Any) -> int:
    env["formulas"] = count = env.get("formulas", 0) + 1
    return int(count)


def _block_formula(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    """Read a formula that begins a line, before its lines are taken for a list or a heading."""
    if state.is_code_block(start_line):
        return False
    start = state.bMarks[start_line] + state.tShift[start_line]
    source, opening = state.src, state.src[start : start + 2]
    environment = _ENVIRONMENT.match(source, start, state.eMarks[start_line])
    if environment:
        opening, closing, inner = "", "", start
        end = _end_of(source, start, f"\\end{{{environment.group(1)}}}")
        end = end if end < 0 else source.index("}", end) + 1
    elif opening in {"$$", "\\["}:
        closing, inner = _PAIRS[opening][0], start + 2
        end = _end_of(source, inner, closing)
    else:
        return False
    line = start_line
    while end >= 0 and line < end_line and state.eMarks[line] < end:
        line += 1
    if end < 0 or line >= end_line or not source[inner:end].strip():
        return False
    if source[end + len(closing) : state.eMarks[line]].strip():
        return False  # text follows: an inline formula of a paragraph
    if not silent:
        token = _push(state, source[inner:end], opening, closing, is_block=True)
        token.map = [start_line, line + 1]
    state.line = line + 1
    return True


class _Renderer(RendererHTML):
    """Draws what is ours: formulas, code, and the names of pictures."""

    def formula(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """Draw a formula, or show its source if it is broken."""
        token = tokens[idx]
        drawn = None
        if not token.meta["is_late"]:
            drawn = formulas.mathml(token.content.strip(), is_block=token.block)
        if drawn is None:
            source = escape(f"{token.markup}{token.content}{token.info}")
            return f'<code class="unread">{source}</code>'
        return f'<div class="formula">{drawn}</div>' if token.level == 0 and token.map else drawn

    def fence(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """Draw code in the language that is named."""
        token = tokens[idx]
        language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
        code = highlighting.colored(token.content, language)
        return f'<pre dir="ltr"><code>{code}</code></pre>\n'

    def code_block(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """Draw code without a language."""
        return f'<pre dir="ltr"><code>{escape(tokens[idx].content)}</code></pre>\n'

    def image(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        """Name a picture, which is not loaded, by its alternative text."""
        token = tokens[idx]
        named = self.renderInlineAsText(token.children or [], options, env).strip()
        words = escape(named) or "no description"
        return f'<span class="picture"><span class="chip">Picture, not loaded</span> {words}</span>'


def _made() -> MarkdownIt:
    options = {"html": False, "linkify": False, "breaks": True}
    markdown = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"])
    markdown.inline.ruler.before("escape", "formula", _inline_formula)
    markdown.block.ruler.before(
        "fence",
        "formula",
        _block_formula,
        {"alt": ["paragraph", "reference", "blockquote", "list"]},
    )
    markdown.core.ruler.push("lower_headings", _lower_headings)
    markdown.core.ruler.push("direct_blocks", _direct_blocks)
    markdown.core.ruler.push("measure_numbers", _measure_numbers)
    return markdown


_markdown = _made()
_without_links = _made().disable(["link", "image", "reference"])
