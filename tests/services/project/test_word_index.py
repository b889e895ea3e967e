"""The word indexes of both databases find what the rules of search words find."""

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain import search_words
from app.models import Prompt
from app.services.project import prompt_search, prompts, word_index
from app.services.project.prompt_search import PromptFilter
from app.services.project.prompts import NewPrompt
from tests.services.sample import make_project

TEXTS = (
    "My refund is late, and nobody answers.",
    "REFUNDS: see https://example.org/refund-policy?x=1",
    "Crème brûlée, naïve café, Ærø, straße",
    "cafe\u0301 decomposed and ﬁne ligature",
    "我要退款，谢谢。",
    "がんばって ください、カタカナ",
    "สวัสดีครับ ราคาเท่าไร",
    "Привет, ёлка и йод",
    "<b>tags</b> & entities &amp; e-mail someone@example.org",
    "path/to/file_name.txt v1.2.3 -17 1e5 3.14",
    "emoji 😀 and \u200bzero width",
    "nothing",
)
SEARCHES = (
    *(
        "refund",
        "refu",
        "fund",
        "late nobody",
        '"is late"',
        '"late is"',
        "refund-policy",
        "example",
    ),
    *(
        "creme",
        "brûl",
        "cafe",
        "café",
        "fine",
        "straße",
        "退款",
        "谢谢",
        "退谢",
        "がん",
        "カナ",
        "か",
    ),
    *(
        "ราคา",
        "สวัส",
        "прив",
        "елка",
        "йод",
        "tags",
        "amp",
        "e-mail",
        "someone@example.org",
        "file_",
    ),
    *("name.txt", "v1.2", "17", "1e5", "14", "zero", "emoji", "n", "no"),
)
HOSTILE = (
    *(
        '"',
        '""',
        '"""',
        "'",
        "''",
        "\\",
        "%",
        "_",
        "*",
        "refund*",
        "*:*",
        ":*",
        "&",
        "|",
        "!",
        "()",
    ),
    *("a & b", "a | !b", "a <-> b", "NEAR(a b)", "words:refund", "AND", "OR NOT", "^refund", "-x"),
    *(
        "a\x00b",
        "'; DROP TABLE prompt; --",
        '"unclosed',
        "refund OR",
        "{x}",
        "+",
        "~",
        "😀",
        "\ud7ff",
    ),
)


def test_the_index_finds_what_the_rules_find(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = make_project(session)
        new = [NewPrompt((("user", "first"), ("user", text))) for text in TEXTS]
        added = prompts.add(session, project, new).prompts
        for search in (*SEARCHES, *HOSTILE):
            terms = search_words.parse(search)
            wanted = {
                prompt.id
                for prompt, text in zip(added, TEXTS, strict=True)
                if search_words.is_match(terms, f"first\n{text}")
            }
            found = word_index.ids_of(session, Prompt, project.id, terms, most=100)
            assert set(found or ()) == wanted, search
        assert (
            word_index.ids_of(session, Prompt, project.id, search_words.parse("first"), most=3)
            is None
        )


def test_changed_and_deleted_texts_are_no_longer_found(any_database: Database) -> None:
    def find(session: Session, search: str) -> int:
        return len(prompt_search.page(session, project.id, PromptFilter(search=search)).rows)

    with any_database.transaction() as session:
        project = make_project(session)
        changed, deleted = prompts.add(
            session, project, [NewPrompt((("user", text),)) for text in ("apples", "pears")]
        ).prompts
        changed.messages = [{"role": "user", "content": "cherries"}]
        session.flush()
        session.execute(delete(Prompt).where(Prompt.id == deleted.id))
        assert [find(session, word) for word in ("apple", "pear", "cherr")] == [0, 0, 1]
        assert session.scalar(select(Prompt.id)) == changed.id


@pytest.mark.parametrize(
    "text",
    ["word" * 50_000, " ".join(map(chr, range(0x4E00, 0x9FFF))) * 10, "\ufdfa" * 100_000, ""],
)
def test_a_text_of_any_size_can_be_stored(any_database: Database, text: str) -> None:
    with any_database.transaction() as session:
        project = make_project(session)
        prompts.add(session, project, [NewPrompt((("user", f"begin {text}"),))])
        assert len(prompt_search.page(session, project.id, PromptFilter(search="beg")).rows) == 1
