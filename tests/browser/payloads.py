"""Script injection payloads, generated: contexts to break out of × vectors that run script.

Each is one line and holds its number in `z(…)`, which is both the call that must never run and the
mark by which it is found on a page. (No element has a property `z`, which would hide the call.)
`payloads(place)` numbers them for one place where text enters, so that a mark tells where it came
from.
"""

from collections.abc import Iterator
from functools import lru_cache

SHORTEST_FIELD = 60
PER_PLACE = 1000  # numbers of a place: place * 1000 + number
_N = "\N{SNOWMAN}"  # stands for the number until the place is known

# What runs script by itself or when it is touched, once it is markup.
_VECTORS = (
    "<script>z(☃)</script>",
    "<img src=x onerror=z(☃)>",
    "<svg onload=z(☃)>",
    "<iframe src=javascript:z(☃)>",
    "<details open ontoggle=z(☃)>",
    "<input autofocus onfocus=z(☃)>",
)
_CONTEXTS = (
    *("", '">', "'>", "`>", "-->", "]]>", "*/", "</textarea>", "</title>", "</style>"),
    *("</script>", "</pre>", "</code>", "</select>", "</svg>", "</math>", "</template>"),
)
_TAGS = (
    *("<body onload=z(☃)>", "<video src onerror=z(☃)>", "<audio src onerror=z(☃)>"),
    *("<video><source onerror=z(☃)>", "<object data=javascript:z(☃)>"),
    *("<embed src=javascript:z(☃)>", "<a href=javascript:z(☃)>x</a>"),
    *("<form action=javascript:z(☃)><button>x", "<button formaction=javascript:z(☃)>x"),
    *("<base href=javascript:z(☃)//>", "<link rel=import href=data:,z(☃)>"),
    *("<meta http-equiv=refresh content=0;javascript:z(☃)>", "<style onload=z(☃)>"),
    *("<style>@import'javascript:z(☃)'</style>", "<link rel=stylesheet href=x onerror=z(☃)>"),
    *("<marquee onstart=z(☃)>", "<select autofocus onfocus=z(☃)>"),
    *("<textarea autofocus onfocus=z(☃)>", "<keygen autofocus onfocus=z(☃)>"),
    *("<p style=animation-name:x onanimationstart=z(☃)>", "<x onclick=z(☃)>x</x>"),
    *("<b onmouseover=z(☃)>x</b>", "<div popover onbeforetoggle=z(☃)>"),
    *("<iframe srcdoc='<script>z(☃)</script>'>", "<frameset onload=z(☃)>"),
    *("<table background=javascript:z(☃)>", "<img srcset=',' onerror=z(☃)>"),
    *("<xmp><img src onerror=z(☃)></xmp>", "<template><script>z(☃)</script>"),
)
_SVG = (
    *("<svg><script>z(☃)</script></svg>", "<svg><script href=data:,z(☃) />"),
    *("<svg><animate onbegin=z(☃) attributeName=x>", "<svg><set onbegin=z(☃)>"),
    *("<svg><a xlink:href=javascript:z(☃)><text y=9>x", "<svg><use href=data:,z(☃)>"),
    *("<svg><foreignObject><img src onerror=z(☃)>", "<svg><desc><script>z(☃)</script>"),
    *("<svg><title><script>z(☃)</script>", "<svg><style><img src onerror=z(☃)>"),
    *("<svg></p><style><img src onerror=z(☃)>", "<svg><image href=x onerror=z(☃)>"),
)
_MATH = (
    *("<math href=javascript:z(☃)>x", "<math><mi xlink:href=javascript:z(☃)>x"),
    *("<math><mtext><img src onerror=z(☃)>", "<math><ms><script>z(☃)</script>"),
    *("<math><annotation-xml encoding=text/html><b onclick=z(☃)>",),
    *(r"$\href{javascript:z(☃)}{x}$", r"\(\href{javascript:z(☃)}{x}\)"),
)
# What a renderer of formulas, code and pictures may turn into markup, or into a link or an image.
_FORMULAS = (
    *(
        r"$\text{<img src onerror=z(☃)>}$",
        r"\[\text{</mtext><svg onload=z(☃)>}\]",
        r"$$z(☃)<script>$$",
    ),
    *(
        r"\[\href{javascript:z(☃)}{x}\]",
        r"$\includegraphics{//h/z(☃)}$",
        r"$\url{javascript:z(☃)}$",
    ),
    *(r"$\class{x}{z(☃)}$", r"$\style{background:url(//h)}{z(☃)}$", r"$\unicode{x3c}img z(☃)$"),
    *(r"$x</math><img src onerror=z(☃)>$", r"$&lt;svg onload=z(☃)&gt;$", r"$\cssId{x}{z(☃)}$"),
    *(
        r"$\begin{matrix}<svg onload=z(☃)>\end{matrix}$",
        r"$\def\a{\a\a}\a z(☃)$",
        r"$\input{z(☃)}$",
    ),
    *(r"\(\color{red;x:z(☃)}{x}\)", r"$\hspace{-9em}\text{z(☃)}$", r"$\phantom{z(☃)}$"),
    *("`$<img src onerror=z(☃)>$`", "![$x$ z(☃)](javascript:z(☃))", "![<b onclick=z(☃)>](//h)"),
)
# Markup that is harmless until it is parsed a second time.
_MUTATIONS = (
    *("<math><style><!--</style><img src onerror=z(☃)>", "<svg><p><style><g title='</style>z(☃)'>"),
    *("<noscript><p title='</noscript><img src onerror=z(☃)>'>", "<noembed><img src onerror=z(☃)>"),
    *("<listing>&lt;img src onerror=z(☃)></listing>", "<!--><img src onerror=z(☃)>-->"),
    *("<![CDATA[<img src onerror=z(☃)>]]>", "<!-- --!><img src onerror=z(☃)>"),
    *("<select><style></select><img src onerror=z(☃)>", "<a title='</a><img src onerror=z(☃)>'>"),
    *("<form><math><mtext></form><b onclick=z(☃)>x", "<p/onclick=z(☃)>x</p/>"),
    *("<?xml <img src onerror=z(☃)>?>", "<!DOCTYPE x [<img src onerror=z(☃)>]>"),
)
_SPELLINGS = (
    *("<ScRiPt>z(☃)</sCrIpT>", "<script/x>z(☃)</script>", "<<script>z(☃)//<</script>"),
    *("<script src=data:,z(☃)></script>", "<script>z(☃)", "< script>z(☃)</ script>"),
    *("<img/src=x/onerror=z(☃)>", "<img\tsrc=x\tonerror=z(☃)>", "<img src=`x`onerror=z(☃)>"),
    *("<img src=x onerror\u00a0=z(☃)>", "<img src=x oNeRrOr=z(☃)>", "<img src onerror=z(☃)//"),
    *("<IMG SRC=x ONERROR='z(☃)'>", "<img src=x onerror=&#122;(☃) title='z(☃)'>"),
    *("<svg/onload=z(☃)>", "<svg\u200bonload=z(☃)>", "\ufeff<script>z(☃)</script>"),
    *("<scr\u200bipt>z(☃)</script>", "\u202e<script>z(☃)</script>", "<ſcript>z(☃)</ſcript>"),
    *("＜script＞z(☃)＜/script＞", "<script\u2028>z(☃)</script>", "\\u003cscript\\u003ez(☃)"),
    *("&lt;script&gt;z(☃)&lt;/script&gt;", "&#60;script&#62;z(☃)&#60;/script&#62;"),
    *("&#x3c;img src onerror=z(☃)&#x3e;", "%3Cscript%3Ez(☃)%3C/script%3E"),
    *("+ADw-script+AD4-z(☃)+ADw-/script+AD4-", "\\x3cscript\\x3ez(☃)"),
    *("&amp;lt;script&amp;gt;z(☃)", "<script>\u2029z(☃)</script>", "\u2066<svg onload=z(☃)>"),
)
_EVENTS = (
    *("onclick", "onload", "onerror", "onfocus", "onmouseover", "onpointerenter"),
    *("ontoggle", "onwheel", "onanimationend", "onbeforeinput", "oncopy", "onscroll"),
)
_QUOTES = ('" {}=z(☃) autofocus x="', "' {}=z(☃) autofocus x='", " {}=z(☃) autofocus ")
_ADDRESSES = (
    *("javascript:z(☃)", "JaVaScRiPt:z(☃)", "javascript&colon;z(☃)", "&#106;avascript:z(☃)"),
    *("java&Tab;script:z(☃)", "\x0bjavascript:z(☃)", "vbscript:z(☃)", "data:text/html,z(☃)"),
    *("data:image/svg+xml,<svg/onload=z(☃)>", "//h/?z(☃)", "feed:javascript:z(☃)"),
    *("javascript://%0az(☃)", "blob:z(☃)", "http://h/z(☃)"),
)
# The label or the text after it keeps the mark where the address itself is dropped.
_LINKS = (*("[z(☃)]({})", "![a]({}) z(☃)", "<{}> z(☃)", "[z(☃)](<{}>)", '<a href="{}">z(☃)</a>'),)
_MARKDOWN = (
    *('[z(☃)](//h "t\\" onclick=z(☃)")', "[z(☃)](//h 'onclick=z(☃)')", "![x(☃](x) z(☃)"),
    *("[z(☃)]:javascript:z(☃)", "`<img src onerror=z(☃)>`", "`` ` ``<img src onerror=z(☃)>"),
    *("| <img src onerror=z(☃)> |", "# <img src onerror=z(☃)>", "> <img src onerror=z(☃)>"),
    *("- <img src onerror=z(☃)>", "**<img src onerror=z(☃)>**", "~~<svg onload=z(☃)>~~"),
    *("\\<img src onerror=z(☃)>", "&#35; <img src onerror=z(☃)>", "[<img src onerror=z(☃)>](x)"),
    *("[a](x)<img src onerror=z(☃)>", "![<svg onload=z(☃)>](//h) z(☃)", "<!-- z(☃) -->z(☃)"),
)
_TEMPLATES = (
    *("{{z(☃)}}", "{{ 7*7 }}z(☃)", "${z(☃)}", "{%z(☃)%}", "<%=z(☃)%>", "#{z(☃)}", "[[z(☃)]]"),
    *("*{z(☃)}", "@(z(☃))", "{{constructor.constructor('z(☃)')()}}", "{{config}}z(☃)"),
    *("{{''.__class__.__mro__}}z(☃)", "{% raw %}z(☃)", "{# z(☃) #}z(☃)", "{{z(☃)|safe}}"),
    *("<!--#exec cmd=z(☃)-->", "<?php z(☃) ?>", "%(z(☃))s", "{z(☃)}", "{0.__class__}z(☃)"),
)
_IN_SCRIPT = (
    *("'-z(☃)-'", '"-z(☃)-"', "\\'-z(☃)//", '"},z(☃),{"', ";z(☃);//", "`-z(☃)-`", "${z(☃)}`"),
    *("</script><script>z(☃)</script>", "\u2028z(☃)//", "*/z(☃)/*", "')}z(☃)({'"),
)
_IN_STYLE = (
    *("</style><script>z(☃)</script>", '" style="background:url(javascript:z(☃))'),
    *("expression(z(☃))", "}*{background:url(javascript:z(☃))}", "<b style=x:expression(z(☃))>"),
)


@lru_cache(maxsize=1)
def every() -> tuple[str, ...]:
    """Return the payloads without numbers, each once; those that fit any field come first."""
    found = dict.fromkeys(one.replace("☃", _N) for one in _generated())
    return tuple(sorted(found, key=lambda one: len(one.replace(_N, "0" * 5)) > SHORTEST_FIELD))


def payloads(place: int, longest: int = 10_000) -> list[str]:
    """Return the payloads of a place that fit its field, numbered."""
    numbered = (
        one.replace(_N, str(place * PER_PLACE + number)) for number, one in enumerate(every())
    )
    return [one for one in numbered if len(one) <= longest]


def filled(place: int, longest: int, between: str = " ") -> list[str]:
    """Return fields of at most so many characters that hold a place's payloads."""
    fields: list[str] = []
    for one in payloads(place, longest):
        if fields and len(fields[-1]) + len(between) + len(one) <= longest:
            fields[-1] += between + one
        else:
            fields.append(one)
    return fields


def _generated() -> Iterator[str]:
    yield from (context + vector for context in _CONTEXTS for vector in _VECTORS)
    yield from (*_TAGS, *_SVG, *_MATH, *_FORMULAS, *_MUTATIONS, *_SPELLINGS)
    yield from (quote.format(event) for event in _EVENTS for quote in _QUOTES)
    yield from (link.format(address) for address in _ADDRESSES for link in _LINKS)
    yield from (*_MARKDOWN, *_TEMPLATES, *_IN_SCRIPT, *_IN_STYLE)
