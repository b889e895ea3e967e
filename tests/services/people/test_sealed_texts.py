"""A sealed text opens with its secret and for its purpose, unchanged, and for nothing else."""

from app.services.people.sealed_texts import seal, unseal

KEY, OTHER = b"s" * 40, b"t" * 40


def test_a_text_opens_only_as_it_was_sealed() -> None:
    sealed = seal(KEY, "second factor of user 1", "hush")
    assert unseal(KEY, "second factor of user 1", sealed) == "hush"
    assert sealed != seal(KEY, "second factor of user 1", "hush")
    assert unseal(OTHER, "second factor of user 1", sealed) is None
    assert unseal(KEY, "second factor of user 2", sealed) is None
    for changed in (sealed[:-4], f"{sealed[:-8]}AAAAAAA=", "", "A", "é", sealed.swapcase()):
        assert unseal(KEY, "second factor of user 1", changed) is None
