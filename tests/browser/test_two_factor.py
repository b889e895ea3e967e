"""Two-factor authentication in a real browser: set up, and signed in by keyboard alone."""

import os
import re

import pyotp
import pytest

from app.db import now
from app.models import User
from app.services.people import accounts
from tests.browser.desk import Desk, House, fits_window, sit_down
from tests.conftest import PASSWORD

pytestmark = pytest.mark.browser


def _is_tidy(desk: Desk, name: str) -> None:
    """Nothing is wider than the window, and axe finds nothing."""
    if folder := os.environ.get("TEST_SHOTS"):
        desk.page.screenshot(path=f"{folder}/{name}.png", full_page=True)
    assert fits_window(desk.page)
    desk.axe(name)


@pytest.mark.parametrize(("width", "scheme"), [("wide", "light"), ("phone", "dark")])
def test_it_is_set_up_and_asked_for_by_keyboard_alone(
    house: House, width: str, scheme: str
) -> None:
    with sit_down(house, width, color_scheme=scheme) as desk:
        with desk.database.transaction() as session:
            user = session.get_one(User, desk.user_id)
            user.password_hash = accounts.hash_password(PASSWORD)
        page, keys = desk.page, desk.page.keyboard
        page.goto(f"{desk.url}/account")
        _is_tidy(desk, f"account-{width}")
        page.get_by_role("link", name="Set up").focus()
        keys.press("Enter")
        page.get_by_role("button", name="Set up").focus()
        keys.press("Enter")
        picture = page.get_by_alt_text("QR code for your authenticator app")
        assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 100
        _is_tidy(desk, f"set-up-{width}")
        app = pyotp.TOTP(page.locator("pre").inner_text().replace(" ", ""))
        with desk.database.reader() as session:
            moment = now(session).timestamp()
        page.locator("[name=code]").focus()
        keys.type(app.at(moment - 30))
        keys.press("Tab")
        keys.type(PASSWORD)
        keys.press("Enter")
        page.get_by_role("heading", name="Keep these recovery codes now").wait_for()
        codes = re.findall(r"[a-z2-7]{4}(?:-[a-z2-7]{4}){3}", page.locator("pre").inner_text())
        assert len(codes) == 10
        _is_tidy(desk, f"codes-{width}")
        page.click("text=I have kept them")
        page.goto(f"{desk.url}/account/two-factor")
        _is_tidy(desk, f"on-{width}")
        page.context.clear_cookies()
        _sign_in(desk)
        _is_tidy(desk, f"code-{width}")
        keys.type("000000")  # the field has the focus
        keys.press("Enter")
        page.get_by_text("The code is wrong or was used already.").wait_for()
        _is_tidy(desk, f"wrong-{width}")
        keys.type(app.at(moment))
        keys.press("Enter")
        page.wait_for_url(f"{desk.url}/")
        page.context.clear_cookies()
        _sign_in(desk)
        page.locator("summary", has_text="Use a recovery code").focus()
        keys.press("Enter")
        keys.press("Tab")
        keys.type(codes[0])
        keys.press("Enter")
        page.get_by_text("You used a recovery code; 9 are left.").wait_for()
        assert [said for said in desk.problems if "401" not in said] == []


def _sign_in(desk: Desk) -> None:
    page, keys = desk.page, desk.page.keyboard
    page.goto(f"{desk.url}/sign-in")
    page.locator("[name=email]").focus()
    keys.type(desk.email)
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    page.locator("[name=code]").wait_for()
