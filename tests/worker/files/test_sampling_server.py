"""Commands whose models a server samples: `generate`, and the training of a policy."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import sampling_server
from tests.sampling_server import BASE_NAME, SamplingServer
from tests.worker.files import material
from tests.worker.files.material import error, ok
from tests.worker.rlhf import tiny


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SamplingServer]:
    (tmp_path / "adapters").mkdir()
    monkeypatch.setenv("ATTUNE_ADAPTER_FOLDER", str(tmp_path / "adapters"))
    with sampling_server.serving(tiny.loaded()) as made:
        yield made


def named(server: SamplingServer) -> tuple[str, ...]:
    return ("--sampling-server", server.url, "--sampling-model", BASE_NAME)


def test_responses_to_a_file_come_from_the_server(
    sft: Path, base: Path, tmp_path: Path, server: SamplingServer
) -> None:
    data = material.prompts(tmp_path / "q.jsonl", 3)
    out = tmp_path / "out.jsonl"
    asking = ("generate", data, "-o", out, "--max-new-tokens", 6, "-n", 2)
    ok(*asking, "-m", sft, *named(server))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len({one["text"] for one in row["completions"]}) for row in rows] == [2, 2, 2]
    assert len(server.requests) == 6
    assert len(server.loads) == 1
    assert (server.adapters, list((tmp_path / "adapters").iterdir())) == ({}, [])
    refused = error(*asking, "-m", sft, "--sampling-server", "gpu:1", "--restart")
    assert "must begin with http:// or https://, not 'gpu:1'" in refused
    ok(*asking, "-m", base, *named(server), "--restart")
    assert len(server.loads) == 1, "the base is there without an adapter"
    server.without_ids = True
    assert "text without token ids" in error(*asking, "-m", base, *named(server), "--restart")


def test_a_policy_of_a_command_is_sampled_by_the_server(
    sft: Path, tmp_path: Path, server: SamplingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = material.prompts(tmp_path / "q.jsonl")
    training = (
        *("train", "policy", data, "-m", sft, "--reward-part", "length:longest=4"),
        *("--max-new-tokens", 4, "--batch-size", 4, "--max-steps", 2, *named(server)),
    )
    result = ok(*training, "-o", tmp_path / "out", "--set", "sampling_server.publish_every=2")
    assert "is ready" in result.output
    assert {name.rpartition("-")[2] for name, _ in server.loads} <= {"0", "1", "2"}
    assert server.adapters == {}
    monkeypatch.delenv("ATTUNE_ADAPTER_FOLDER")
    assert "needs ATTUNE_ADAPTER_FOLDER" in error(*training, "-o", tmp_path / "other")
