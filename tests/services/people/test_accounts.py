"""Accounts looked up by what people know of them."""

from sqlalchemy.orm import Session

from app.services.people import accounts


def test_an_account_is_found_however_its_address_is_written(session: Session) -> None:
    ada = accounts.create_user(session, email="ada@example.org", name="Ada", password=None)
    assert accounts.user_by_email(session, " Ada@Example.org ") == ada
    assert accounts.user_by_email(session, "bob@example.org") is None


def test_a_name_is_empty_without_a_user(session: Session) -> None:
    ada = accounts.create_user(session, email="ada@example.org", name="Ada", password=None)
    assert accounts.user_name(session, ada.id) == "Ada"
    assert accounts.user_name(session, None) == ""
