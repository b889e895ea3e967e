"""Rendering of pages: the template environment and redirects; `markdown` renders untrusted text."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.filters import do_filesizeformat
from jinja2.runtime import Context
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.domain import climb, signs
from app.web import (
    addresses,
    audit_words,
    glossary,
    goal_words,
    navigation,
    page_words,
    security,
    transport,
)
from app.web.auth import Viewer
from app.web.markdown import render_markdown

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"
NOTICE_COOKIE = "attune_notice"

_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def visible_raw(text: str) -> str:
    """Return the text with zero-width and bidirectional control characters spelled out."""
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def render(
    request: Request, template: str, page: Any, *, status: int = 200, fragment: bool = False
) -> HTMLResponse:
    """Render a page from its context dataclass."""
    viewer: Viewer | None = getattr(request.state, "viewer", None)
    token = ""
    if viewer is not None and viewer.session_secret is not None:
        secret: bytes = request.app.state.secret
        token = security.mask(security.form_token(secret, viewer.session_secret))
    notice = unquote(request.cookies.get(NOTICE_COOKIE, ""))
    html = (
        _environment()
        .get_template(template)
        .render(
            page=page,
            request=request,
            viewer=viewer,
            access=getattr(request.state, "access", None),
            csrf_token=token,
            notice="" if fragment else notice,
        )
    )
    response = HTMLResponse(html, status_code=status)
    if notice and not fragment:
        response.delete_cookie(NOTICE_COOKIE, path="/")
    return response


def render_svg(template: str, page: Any, headers: Mapping[str, str]) -> Response:
    """Render a picture of its own from its context dataclass."""
    text = _environment().get_template(template).render(page=page)
    return Response(text, headers=dict(headers), media_type="image/svg+xml")


def redirect(request: Request, url: str, *, notice: str = "") -> Response:
    """Redirect the browser after a form, with a notice to show on the next page."""
    response = RedirectResponse(url, status_code=303)
    if notice:
        response.set_cookie(
            NOTICE_COOKIE,
            quote(notice[:300]),
            max_age=60,
            path="/",
            httponly=True,
            samesite="lax",
            secure=transport.is_secure(request),
        )
    return response


def static_url(path: str) -> str:
    """Return the URL of a static file, with its modification time to bypass stale caches."""
    file = STATIC / path
    version = int(file.stat().st_mtime) if file.is_file() else 0
    return f"/static/{path}?v={version}"


@pass_context
def path_in_page(
    context: Context, name: str, /, *, query: Mapping[str, object] | None = None, **values: object
) -> str:
    """Return the path of a route; the project defaults to the one that the page belongs to."""
    access = context.get("access")
    if access and "slug" not in values and addresses.takes(name, "slug"):
        values["slug"] = access.project.slug
    return addresses.path(name, query=query, **values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        static=static_url,
        path=path_in_page,
        has_static=lambda path: (STATIC / path).is_file(),
        glossary=glossary.entries,
        goal_words=goal_words.GOALS,
        navigation=navigation,
    )
    environment.filters.update(
        markdown=render_markdown,
        raw=visible_raw,
        number=_number,
        percent=_percent,
        signed=signs.signed,
        filesizeformat=_size,
        kl_nats=climb.kl_nats,
        moment=lambda value: _time_element(environment, value),
        moment_text=_moment,
        duration=_duration,
        tojson_attr=_json_attribute,
        audit_action=audit_words.of,
        purpose=page_words.purpose,
        model_kind=page_words.model_kind,
        flag=page_words.flag,
        job=page_words.job,
        queue=page_words.queue,
        metric=page_words.metric,
        sentence=page_words.sentence,
        unbroken=page_words.unbroken,
        count=page_words.count,
    )
    return environment


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else signs.with_minus(f"{value:z,.{digits}f}")


def _percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _size(number: int) -> str:
    """Return a size as the filter of Jinja does, with its unit as the pages write it."""
    return do_filesizeformat(number).replace("Byte", "byte")


def _time_element(environment: Environment, value: datetime | None) -> Any:
    """Return a moment as an element that the browser shows in its own time zone."""
    module: Any = environment.get_template("_shared/time.html").module
    return module.moment(value)


def _moment(value: datetime | None) -> str:
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _json_attribute(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
