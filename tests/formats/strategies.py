"""Hypothesis strategies for records of every kind."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from app.domain.ranking import Ranking, Strength
from app.formats import transcripts
from app.formats.records import (
    ComparisonRecord,
    CompletionsRecord,
    CompletionText,
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Turn,
    UnpairedRecord,
    VoteRecord,
)

# What a database can store: no lone surrogates, no NUL. Markers that formats split at are frequent.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_PIECES = st.sampled_from(["\n\n", "\n", " ", "Human:", "Assistant: ", "a", "\r\n", '"', "=", "'"])
texts = st.lists(_PIECES | st.text(_CHARACTERS, max_size=5), max_size=6).map("".join)
said = texts.filter(str.strip)
names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
# A text that reads as a transcript is no prompt of one turn.
single = said.filter(lambda text: not transcripts.is_open(text)).map(
    lambda text: (Turn("user", text),)
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns = [Turn("system", draw(said))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 2))):
        turns += [Turn("user", draw(said)), Turn("assistant", draw(said))]
    return (*turns, Turn("user", draw(said)))


meta = st.dictionaries(
    st.sampled_from(["category", "source", "weight", "ok"]),
    said | st.integers(-5, 5) | st.booleans(),
    max_size=3,
)
prompts = st.builds(PromptRecord, conversations(), st.none() | names, meta)
demonstrations = st.builds(DemonstrationRecord, conversations(), said, st.none() | names, meta)
candidates = st.builds(CompletionText, texts, st.none() | names)
completions = st.builds(
    CompletionsRecord,
    conversations(),
    st.lists(candidates, min_size=1, max_size=4).map(tuple),
    st.none() | names,
    meta,
)
unpaired = st.builds(UnpairedRecord, conversations(), texts, st.booleans())


@st.composite
def preferences(
    draw: st.DrawFn, prompt: st.SearchStrategy[Conversation] | None = None
) -> PreferenceRecord:
    two = draw(st.lists(texts, min_size=2, max_size=2, unique=True))
    return PreferenceRecord(
        draw(conversations() if prompt is None else prompt),
        tuple(CompletionText(text) for text in two),
        Ranking(draw(st.sampled_from([(1, 2), (2, 1)]))),
        margin=draw(st.none() | st.floats(-4, 4)),
    )


@st.composite
def comparisons(draw: st.DrawFn) -> ComparisonRecord:
    k = draw(st.integers(2, 5))
    start = draw(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
    votes = [
        VoteRecord(
            labeler=labeler,
            ranking=draw(
                st.none()
                | st.lists(st.integers(0, 3), min_size=k, max_size=k).map(Ranking.of_positions)
            ),
            strength=draw(st.none() | st.sampled_from(Strength)),
            both_bad=draw(st.booleans()),
            flags=tuple(draw(st.lists(names, max_size=2))),
            comment=draw(texts),
            shown_order=tuple(draw(st.permutations(range(k)))),
            guidelines_version=draw(st.none() | st.integers(1, 9)),
            started_at=start,
            submitted_at=draw(st.none() | st.just(start + timedelta(seconds=9))),
            active_ms=draw(st.none() | st.integers(0, 10**6)),
        )
        for labeler in draw(st.sets(names, max_size=3).map(sorted))
    ]
    return ComparisonRecord(
        draw(conversations()),
        tuple(draw(st.lists(candidates, min_size=k, max_size=k))),
        tuple(votes),
        comparison=draw(st.none() | names),
        purpose=draw(st.sampled_from(["train", "evaluation"])),
        split=draw(st.none() | st.sampled_from(["train", "test"])),
        round=draw(st.none() | st.integers(1, 9)),
    )
