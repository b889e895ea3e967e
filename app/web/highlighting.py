"""Code in color: the tokens of a text in a programming language, as HTML with classes.

Some lexers take time quadratic in the length of a text made for it. The length of what is colored
is therefore limited, and so is the processor time of a text; the rest of it stays plain.
"""

import time
from collections.abc import Iterator
from functools import lru_cache
from html import escape

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token, _TokenType
from pygments.util import ClassNotFound

MOST_CHARACTERS = 8000
MOST_CPU_S = 0.05
MOST_CACHED = 128
LANGUAGES = frozenset(
    {
        *("bash", "c", "c++", "cpp", "cs", "csharp", "css", "diff", "docker", "dockerfile", "go"),
        *("golang", "haskell", "html", "ini", "java", "javascript", "js", "json", "jsx", "julia"),
        *("kotlin", "latex", "lua", "make", "makefile", "markdown", "md", "perl", "php", "ps1"),
        *("powershell", "py", "py3", "python", "python3", "r", "rb", "rs", "ruby", "rust", "scala"),
        *("sh", "shell", "sql", "swift", "tex", "toml", "ts", "tsx", "typescript", "xml", "yaml"),
        *("yml", "zsh", "objective-c", "objc", "matlab", "console"),
    }
)
CLASSES = {
    Token.Comment: "c",
    Token.Keyword: "k",
    Token.Name.Class: "f",
    Token.Name.Decorator: "f",
    Token.Name.Function: "f",
    Token.Name.Tag: "k",
    Token.Name.Attribute: "f",
    Token.Literal.String: "s",
    Token.Literal.Number: "n",
    Token.Operator.Word: "k",
    Token.Generic.Deleted: "d",
    Token.Generic.Inserted: "s",
}


@lru_cache(maxsize=MOST_CACHED)
def colored(code: str, language: str) -> str:
    """Return code as HTML; uncolored if the language is unknown or the code is too long."""
    lexer = _lexer(language.lower())
    if lexer is None or len(code) > MOST_CHARACTERS:
        return escape(code)
    return "".join(_spans(code, lexer))


def _spans(code: str, lexer: Lexer) -> Iterator[str]:
    end = time.thread_time() + MOST_CPU_S
    kind_before, text_before = "", ""
    for at, token, text in lexer.get_tokens_unprocessed(code):
        if time.thread_time() > end:
            yield _span(kind_before, text_before)
            yield escape(code[at:])
            return
        kind = _class_of(token)
        if kind != kind_before:
            yield _span(kind_before, text_before)
            kind_before, text_before = kind, ""
        text_before += text
    yield _span(kind_before, text_before)


def _span(kind: str, text: str) -> str:
    return f'<span class="{kind}">{escape(text)}</span>' if kind and text else escape(text)


@lru_cache(maxsize=512)
def _class_of(token: _TokenType) -> str:
    while token is not None:
        if token in CLASSES:
            return CLASSES[token]
        token = token.parent
    return ""


@lru_cache(maxsize=128)
def _lexer(language: str) -> Lexer | None:
    if language not in LANGUAGES:
        return None
    try:
        return get_lexer_by_name(language, ensurenl=False, stripnl=False)
    except ClassNotFound:
        return None
