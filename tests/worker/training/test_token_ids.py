"""Prompts as token ids: the instruction beside a prompt and in it are the same to a model."""

import pytest

from tests.worker.rlhf import tiny
from worker.rlhf.model.models import LoadedModel
from worker.training import token_ids

ASKED = {"role": "user", "content": "Why?"}
SYSTEM = {"role": "system", "content": "You are a clerk."}
TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"


@pytest.fixture(params=["", TURNS, NO_SYSTEM + TURNS], ids=["plain", "chat", "no system"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    tokens = tiny.tokenizer()
    tokens.chat_template = request.param or None
    return tiny.loaded(tokens=tokens)


@pytest.mark.parametrize(
    ("beside", "within"),
    [
        ([ASKED], [{"role": "system", "content": "Be brief."}, ASKED]),
        (
            [SYSTEM, ASKED],
            [{"role": "system", "content": "Be brief.\n\nYou are a clerk."}, ASKED],
        ),
    ],
)
def test_an_instruction_in_the_prompt_gives_the_ids_of_one_beside_it(
    loaded: LoadedModel,
    beside: list[dict[str, str]],
    within: list[dict[str, str]],
) -> None:
    ids = token_ids.prompt_ids(loaded, beside, " Be brief.\r\n")
    assert ids == token_ids.prompt_ids(loaded, within, "")
    assert ids != token_ids.prompt_ids(loaded, beside, "")
