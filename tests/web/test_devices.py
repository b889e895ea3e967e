"""Browsers are named as people know them; what is not recognized is shown as it is."""

import pytest

from app.web.devices import device_name

_MOZILLA = "Mozilla/5.0"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            f"{_MOZILLA} (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Windows",
        ),
        (
            f"{_MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like "
            "Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
            "Edge on macOS",
        ),
        (
            f"{_MOZILLA} (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            f"{_MOZILLA} (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/140.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("Lost laptop", "Lost laptop"),
        ("", "Unknown browser"),
    ],
)
def test_a_device_has_the_name_of_its_browser_and_system(user_agent: str, name: str) -> None:
    assert device_name(user_agent) == name
