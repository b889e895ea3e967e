"""Makes the pictures of the README and the documentation, in `docs/pictures/`.

Not a test, but run by one command, so that they show the pages as they are:

    python -m tests.browser.pictures [--only label …]

The installation is seeded (`picture_world`), the window is 1280 by 800 at twice the density in the
light theme, and pages are opened by their addresses and waited for by their roles.
"""

import argparse
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Page

from app.db import Database, schema
from app.main import create_app
from app.settings import Settings
from tests.browser import loop_drawing, picture_world
from tests.browser.desk import chromium
from tests.live import serve

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"
COLORS: Final = 128  # of a picture: text and flat areas need no more
SIZE: Final = (1280, 800)


@dataclass(frozen=True, slots=True)
class Picture:
    """A page by its path below the project, with the keys to press before it is taken."""

    name: str
    path: str
    keys: tuple[str, ...] = ()


PICTURES: Final = (
    Picture("label", "/label", ("1",)),
    Picture("overview", ""),
    Picture("agreement", "/agreement"),
    Picture("leaderboard", "/leaderboard"),
    Picture("launch", "/rounds/new"),
)


def take(page: Page, url: str, picture: Picture) -> bytes:
    """Return a picture of a page as PNG with a palette."""
    response = page.goto(f"{url}/p/{picture_world.SLUG}{picture.path}")
    assert response is not None
    assert response.ok, f"{picture.path or '/'} answers {response.status}"
    page.get_by_role("main").wait_for()
    page.wait_for_load_state("networkidle")
    for key in picture.keys:
        page.keyboard.press(key)
    page.mouse.move(0, 0)
    shot = page.screenshot(animations="disabled", caret="hide")
    return compressed(shot)


def compressed(png: bytes) -> bytes:
    """Return a picture with a palette instead of true color."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(COLORS).save(small, "PNG", optimize=True)
    return small.getvalue()


def drawings() -> dict[str, str]:
    """Return the drawn pictures by the names of their files."""
    return {
        "loop.svg": loop_drawing.draw(is_moving=True),
        "loop-still.svg": loop_drawing.draw(is_moving=False),
    }


def main() -> None:
    """Make all pictures, or some."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", nargs="*", help="Names of pictures; all by default.")
    only = options.parse_args().only
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawings().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        settings = Settings(data_dir=Path(folder), secret_key="s" * 40)
        database = Database(settings.database)
        schema.upgrade(database.engine)
        with database.transaction() as session:
            secret = picture_world.furnish(session)
        context = browser.new_context(
            viewport={"width": SIZE[0], "height": SIZE[1]},
            device_scale_factor=2,
            color_scheme="light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(120_000)
        with serve(create_app(settings, database)) as url:
            context.add_cookies([{"name": "attune", "value": secret, "url": url}])
            page = context.new_page()
            for picture in PICTURES:
                if only is None or picture.name in only:
                    png = take(page, url, picture)
                    (FOLDER / f"{picture.name}.png").write_bytes(png)
                    print(f"{picture.name:12} {len(png) / 1000:6.0f} kB")  # noqa: T201 - a command
        database.dispose()


if __name__ == "__main__":
    main()
