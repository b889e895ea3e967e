"""`user` and `token`: accounts and API tokens without a browser."""

import secrets
from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.cli.console import emit, say
from app.cli.serve import ready_database
from app.errors import NotFound
from app.models import Role, User
from app.services.people import accounts
from app.services.project import projects
from app.settings import load

user_app = typer.Typer(help="Accounts: add, list, password, member.", no_args_is_help=True)
token_app = typer.Typer(help="API tokens: add, revoke.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command groups."""
    app.add_typer(user_app, name="user")
    app.add_typer(token_app, name="token")


@user_app.command("add")
def add(
    email: str,
    name: Annotated[str, typer.Option(help="Shown to others; default: before the @.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="May do everything.")] = False,
    password: Annotated[str | None, typer.Option(help="Default: one is made up.")] = None,
) -> None:
    """Make an account; a made-up password is printed once."""
    secret = password or secrets.token_urlsafe(12)
    with ready_database(load()).transaction() as session:
        user = accounts.create_user(
            session, email=email, name=name or email.split("@")[0], password=secret, is_admin=admin
        )
    say(f"{user.name} can sign in as {user.email}")
    if password is None:
        emit({"email": user.email, "password": secret})


@user_app.command("list")
def list_users() -> None:
    """Print every account, one JSON object a line."""
    with ready_database(load()).reader() as session:
        for user in accounts.users(session):
            emit({"id": user.id, "email": user.email, "name": user.name, "admin": user.is_admin})


@user_app.command("password")
def password(email: str) -> None:
    """Set a new password, asked for here; browsers must sign in again."""
    secret = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    with ready_database(load()).transaction() as session:
        accounts.set_password(session, _user(session, email), secret, actor_id=None)
    say(f"{email} has a new password.")


@user_app.command("member")
def member(
    email: str,
    project: str,
    role: Annotated[Role, typer.Option(help="labeler or lead")] = Role.LABELER,
) -> None:
    """Make an account a member of a project."""
    with ready_database(load()).transaction() as session:
        found = projects.by_slug(session, project)
        row = accounts.add_member(session, found.id, _user(session, email).id, role, actor_id=None)
    say(f"{email} is {row.pseudonym}, a {role} of {found.name}.")


@token_app.command("add")
def add_token(
    email: str,
    scope: Annotated[list[str], typer.Option(help="label, read, write, admin")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "command line",
    days: Annotated[int, typer.Option(min=1, help="Days it lives.")] = 90,
) -> None:
    """Make an API token; its secret is printed once."""
    with ready_database(load()).transaction() as session:
        credential = accounts.create_token(
            session, _user(session, email), name=name, scopes=scope, lifetime=timedelta(days=days)
        )
    emit({"id": credential.id, "token": credential.secret})


@token_app.command("revoke")
def revoke_token(email: str, token_id: int) -> None:
    """Revoke an API token."""
    with ready_database(load()).transaction() as session:
        accounts.revoke_token(session, _user(session, email), token_id)
    say(f"Token {token_id} is revoked.")


def _user(session: Session, email: str) -> User:
    user = accounts.user_by_email(session, email)
    if user is None:
        raise NotFound(f"there is no account for {email}")
    return user
