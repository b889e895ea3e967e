import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.domain.plan import PolicyPlan
from worker.bench import environments, learning, pairing, rows, workload
from worker.bench.__main__ import main, remarks, summary, table
from worker.bench.learning import BenchOptions, Measured
from worker.bench.measured_side import FlopCounter
from worker.bench.pairing import Program, StepFigures
from worker.bench.rows import BenchLine
from worker.bench.workload import Workload


def steps(seconds: float, **curves: list[float]) -> StepFigures:
    count = len(next(iter(curves.values())))
    figures = [
        {"seconds": seconds, "memory_bytes": 2.0**20, "flops": 1e9}
        | {name: curve[step] for name, curve in curves.items()}
        for step in range(count)
    ]
    return StepFigures({"torch": "1"}, tuple(figures))


def played(seconds: float, kl_nats: list[float], score: float = 0.1) -> StepFigures:
    """Return PPO's steps on one side."""
    times = {name: [0.1] * len(kl_nats) for name in ("generate_s", "score_s", "train_s")}
    return steps(seconds, score=[score] * len(kl_nats), kl_nats=kl_nats, **times)


def line(work: Workload, ours: StepFigures, peer: StepFigures) -> BenchLine:
    return BenchLine(work, ours, peer, peak=1e10)


def test_work_read_is_work_written(tmp_path: Path) -> None:
    for row in workload.ROWS:
        workload.write(workload.SIZES[row], tmp_path)
        assert workload.read(tmp_path) == workload.SIZES[row]


def test_work_matches_the_table() -> None:
    ranked, pairs = workload.SIZES["reward_k4"], workload.SIZES["reward_pairs"]
    assert (ranked.prompt_tokens, ranked.response_tokens) == ((96, 96), 64)
    assert (ranked.batch, len(ranked.pairs)) == (8, 6)
    assert (pairs.prompt_tokens, pairs.batch, len(pairs.pairs)) == ((192, 192), 16, 1)
    policy, sampled = workload.SIZES["ppo"], workload.SIZES["sampling"]
    assert (policy.prompt_tokens, policy.batch, policy.epochs) == ((16, 64), 64, 4)
    assert (sampled.prompt_tokens, sampled.completions) == ((192, 192), 8)
    for prompts in workload.draw(replace(policy, steps=1)):
        assert all(16 <= len(prompt.ids) <= 64 for prompt in prompts)


def test_both_sides_start_from_the_same_adapters_under_other_names() -> None:
    shapes = {"A": (4, 6), "B": (6, 4)}
    ours, peers = (
        {
            f"{prefix}layers.1.mlp.up_proj.lora_{part}.{name}.weight": torch.nn.Parameter(
                torch.full(shape, 7.0)
            )
            for part, shape in shapes.items()
        }
        for prefix, name in (("reward/model.", "reward"), ("base_model.model.model.", "default"))
    )
    workload.same_start(ours.items())
    workload.same_start(peers.items())
    for mine, theirs in zip(ours.values(), peers.values(), strict=True):
        assert torch.equal(mine, theirs)
    down, up = ours.values()
    assert len(set(down.flatten().tolist())) > 1
    assert not up.any()


def test_operations_are_those_of_the_products_forward_and_backward() -> None:
    weight = torch.randn(5, 7)
    x = torch.randn(3, 7, requires_grad=True)
    counter = FlopCounter()
    with counter:
        torch.autograd.backward(torch.nn.functional.linear(x, weight).sum())
    assert counter.total == 2 * (2 * 3 * 5 * 7)
    counter = FlopCounter()
    with counter, torch.inference_mode():
        torch.nn.functional.linear(x, weight)
    assert counter.total == 2 * 3 * 5 * 7


def test_ratio_is_the_peers_time_over_ours() -> None:
    work = workload.SIZES["reward_k4"]
    found = line(work, steps(2.0, loss=[0.7, 0.6]), steps(9.0, loss=[0.7, 0.6]))
    assert found.ratio == pytest.approx(4.5)
    assert rows.per_s(found, found.ours) == pytest.approx(4.0)
    assert not found.differs


def test_another_loss_curve_is_not_the_same_work() -> None:
    work = workload.SIZES["reward_k4"]
    found = line(work, steps(2.0, loss=[0.7, 0.6]), steps(9.0, loss=[0.7, 0.5]))
    assert found.differs


def test_samples_of_another_temperature_do_not_agree() -> None:
    work = workload.SIZES["sampling"]
    found = line(work, steps(2.0, nats_per_token=[8.7, 8.7]), steps(9.0, nats_per_token=[8.6, 8.6]))
    assert found.differs


@pytest.mark.parametrize(
    ("ours", "agrees"),
    [
        (played(1.0, [0.0, 0.9]), True),
        (played(1.0, [0.0, 0.0]), False),  # the policy never changed
        (played(1.0, [0.0, 2.5]), False),
        (played(1.0, [0.0, 0.9], score=0.9), False),
    ],
)
def test_another_policy_is_not_the_same_work(ours: StepFigures, *, agrees: bool) -> None:
    found = line(workload.SIZES["ppo"], ours, played(2.0, [0.0, 1.0]))
    assert found.differs is not agrees


def test_a_policy_that_never_changed_differs_from_one_that_hardly_did() -> None:
    stuck, hardly = played(1.0, [0.0, 0.0]), played(2.0, [0.0, 0.1])
    assert line(workload.SIZES["ppo"], stuck, hardly).differs
    assert not line(workload.SIZES["ppo"], hardly, hardly).differs


def test_keys_are_those_of_the_table() -> None:
    policy = workload.SIZES["ppo"]
    one = line(policy, played(1.0, [0.0, 1.1]), played(2.0, [0.0, 1.0]))
    found = json.loads(
        json.dumps(
            learning.to_json(
                [
                    Measured("ppo", one),
                    Measured("ppo.separate_value", one),
                    Measured("ppo.bf16", replace(one, work=replace(policy, dtype="bf16"))),
                ],
                "cpu",
            )
        )
    )
    assert found["machine"]["matmul_flops_per_s"] == {"fp32": 1e10, "bf16": 1e10}
    assert found["ppo"]["ratio"] == 2.0
    assert found["ppo"]["memory_ratio"] == 1.0
    assert found["ppo"]["separate_value"]["ratio"] == 2.0
    assert found["ppo"]["bf16"]["ratio"] == 2.0


def test_an_unknown_row_is_named() -> None:
    with pytest.raises(ValueError, match="no row 'pppo'"):
        learning.chosen("ppo,pppo")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_refused_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--gpu"]) == 1
    assert "--gpu needs a CUDA device" in capsys.readouterr().err


def test_sampling_is_measured_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert main(["--tiny", "--only=sampling", f"--json={file}"]) == 0
    found = json.loads(file.read_text())["sampling"]
    assert found["learning"]["agrees"]
    assert found["ratio"] > 0
    assert len(found["ours"]["seconds_each"]) == workload.tiny("sampling").steps - 1


@pytest.mark.parametrize("row", ["reward_k4", "ppo"])
def test_our_side_reports_every_step(row: workload.RowName, tmp_path: Path) -> None:
    work = workload.tiny(row)
    learning.prepare(work, tmp_path)
    (found,) = pairing.run([Program(environments.ours(), rows.OURS)], work, tmp_path)
    assert len(found.figures) == work.steps
    assert found.seconds > 0
    assert found.figures[0]["flops"] > 0


def test_a_gpu_measures_every_shape_at_the_length_of_a_round() -> None:
    options = BenchOptions(gpu=True, only=("ppo",), shapes=learning.chosen_shapes("8B, 0.5b"))
    small, large = learning.works(options)
    assert (small.shape.layers, large.shape.layers) == (24, 36)
    assert (large.batch, large.prompt_tokens, large.response_tokens) == (64, (1024, 1024), 512)
    assert (large.device, large.dtype) == ("cuda", "bf16")
    assert len(rows.programs(large)) == 1
    assert len(rows.programs(workload.SIZES["ppo"])) == 2
    with pytest.raises(ValueError, match="no shape '70b'"):
        learning.chosen_shapes("8b,70b")


def test_a_line_without_a_peer_has_our_figures_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> Program:
        raise RuntimeError("cannot install trl\nno index answers")

    monkeypatch.setattr(rows, "peer_of", missing)
    published = replace(workload.TINY, kv_heads=1, feed_forward=64, ties_embeddings=False)
    work = replace(workload.tiny("sampling"), shape=published)
    learning.prepare(work, tmp_path)
    told: list[str] = []
    (ours,), peer, why = learning._one_by_one(work, tmp_path, tmp_path, told.append)
    assert (peer, why) == (None, "no index answers")
    assert told == ["the peer gives no figures: no index answers"]
    measured = Measured("8b.sampling", BenchLine(work, ours, peer, 1e10, why_alone=why))
    found = learning.to_json([measured], "cpu")["8b"]["sampling"]  # type: ignore[index]
    assert found["ours"]["per_s"] > 0
    assert (found["ratio"], found["learning"]) == (None, None)
    assert found["peer"] == {"missing": "no index answers"}
    assert "no index answers" in remarks([measured])[0]
    assert summary(measured).endswith("tokens/s; no peer")
    assert table([measured]).row_count == 1


def test_a_side_that_ends_early_gives_the_reason(tmp_path: Path) -> None:
    broken = replace(workload.tiny("sampling"), device="no-such-device")
    learning.prepare(broken, tmp_path)
    with pytest.raises(RuntimeError, match="no-such-device"):
        pairing.run([Program(environments.ours(), rows.OURS)], broken, tmp_path)


def test_options_start_with_every_row() -> None:
    assert [work.row for work in learning.works(BenchOptions(tiny=True))] == [*workload.ROWS]


def test_the_round_is_the_variant_that_a_plan_asks_for() -> None:
    shown = [rows.as_in_a_round(variant) for variant in rows.POLICY_VARIANTS]
    (one,) = [variant for variant in shown if variant is not None]
    assert one.key == "round"
    assert one.arguments == (("policy",) if PolicyPlan().shares_trunk else ("value",))
