"""The example of docs/client.md, block by block, against a live server with a worker."""

import re
from pathlib import Path

import pytest

import attune
from tests.client.conftest import Live

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(heading: str) -> list[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return BLOCK.findall(section)


def test_the_example_runs_and_what_it_leaves_can_be_used(
    live: Live,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pandas = pytest.importorskip("pandas")
    monkeypatch.setenv("ATTUNE_URL", live.url)
    monkeypatch.setenv("ATTUNE_TOKEN", live.token)
    namespace: dict[str, object] = {}
    assert len(blocks("An example")) == 7
    for block in blocks("An example"):
        exec(compile(block, "docs/client.md", "exec"), namespace)
    desk, pairs, frame = namespace["desk"], namespace["pairs"], namespace["frame"]
    assert isinstance(desk, attune.Project)
    assert isinstance(pairs, attune.Rows)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["prompt", "chosen", "rejected"]
    assert len(frame) == len(pairs.to_list()) == len(pairs) > 0
    seen = capsys.readouterr()
    assert "12 judgments; 0 lines were not imported" in seen.out
    assert live.token not in seen.out + seen.err + repr(desk) + repr(vars(desk))
    assert cache.stat().st_mode & 0o077 == 0

    assert desk.import_rows(frame).duplicates, "the same rows add nothing"
    assert len(list(desk.prompts(limit=5))) == len(list(desk.judgments(limit=5))) == 12
    assert len(list(desk.comparisons())) == len(list(desk.judged_pairs())) == 12
    assert desk.info().slug == desk.slug == "desk"
    assert [export.number for export in desk.exports()] == [1]
    with pytest.raises(attune.JobFailed, match="would be empty"):
        desk.demonstrations()
    with pytest.raises(attune.Invalid, match="aggregate") as refused:
        desk.preferences(aggregate="loudest")
    assert refused.value.title == "Unprocessable Entity"
    with pytest.raises(attune.Invalid) as refused:
        next(desk.judgments(limit=0))
    assert (refused.value.field, bool(refused.value.request_id)) == ("limit", True)
    with pytest.raises(attune.NotFound):
        desk.verdict("round", 9)
    with pytest.raises(attune.Invalid, match="demonstrations"):
        desk.rounds.launch("quick")
    pairs.path.write_bytes(b"{}")
    assert list(desk.rows_of_export(1)) == frame.to_dict("records"), "a damaged file comes again"
    desk._connection.close()


def test_without_a_valid_token_the_error_says_so_and_names_none(live: Live) -> None:
    with attune.connect(live.url, "att_nobody") as server:
        with pytest.raises(attune.Unauthenticated) as refused:
            server.projects()
        assert "att_nobody" not in f"{refused.value!r}{refused.value}{server!r}"
    with attune.connect(live.url, live.token) as server:
        assert [project.slug for project in server.projects()] == ["desk"]
