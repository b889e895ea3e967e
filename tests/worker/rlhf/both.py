"""`python -m tests.worker.rlhf.both OUT`: what two processes compute, and one of them alone.

Started twice by `test_parallel`, as a launcher would; everything is in fp64. The first writes, for
every loop, the largest difference between its gradients with the other's help and without.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core.examples import PreferencePair, RankedPrompt, TokenizedDemonstration
from worker.rlhf.core.parallel import Team
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import llama, saving, sharding
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import best_of_n, dpo, ppo, rloo, rollout
from worker.rlhf.policy.best_of_n import BestOfNConfig
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.metric_sums import MetricSums
from worker.rlhf.policy.ppo import PpoConfig, Targets
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.policy.rollout import Rollout
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.ranking_loss import branches_of
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.sampling import decoding
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sft import finetuning
from worker.rlhf.sft.finetuning import SftConfig

STEPS, SAVED_AT = 4, 2
PPO = PpoConfig(
    episodes=6,
    max_new_tokens=9,
    autocast=False,
    token_budget=40,
    lora=tiny.LORA,
    kl_coefficient=0.3,
)


def demonstrations() -> list[TokenizedDemonstration]:
    lengths = (3, 9, 5, 12, 4, 7, 3)
    return [
        TokenizedDemonstration(*tiny.token_ids(4, length, seed=n))
        for n, length in enumerate(lengths)
    ]


def rankings() -> list[RankedPrompt]:
    made = []
    for n, count in enumerate((2, 4, 3, 2, 3)):
        prompt, *completions = tiny.token_ids(6, *range(3 + n, 3 + n + count), seed=n)
        pairs = tuple(PreferencePair(i, i + 1, share=(n + i) % 3 / 2) for i in range(count - 1))
        made.append(RankedPrompt(f"r{n}", prompt, tuple(completions), pairs))
    return made


def made(team: Team, *names: str, heads: Sequence[str] = ()) -> Roles:
    """Return the same roles in fp64 every time."""
    base = tiny.loaded()
    base.model.double()
    found = tiny.roles(*names, heads=tuple(heads), moved=0.2, base=base, team=team)
    found.heads.double()
    return found


def of_sft(team: Team) -> list[nn.Parameter]:
    roles = made(team, "sft")
    config = SftConfig(batch_size=7, autocast=False, lora=tiny.LORA, micro_tokens=64)
    run = finetuning.SftRun(roles, demonstrations(), config, TrainingState())
    finetuning.accumulate(roles, "sft", demonstrations(), config)
    return list(run.weights.values())


def of_recomputed_sft(team: Team) -> list[nn.Parameter]:
    roles = made(team, "sft")
    roles.checkpoint_gradients(True)
    config = SftConfig(batch_size=7, autocast=False, lora=tiny.LORA, micro_tokens=64)
    finetuning.accumulate(roles, "sft", demonstrations(), config)
    return roles.parameters_of("sft")


def of_full_sft(team: Team) -> list[nn.Parameter]:
    roles = made(team)
    roles.checkpoint_gradients(team.shards)  # without a part of it, the result is the same
    config = SftConfig(batch_size=7, autocast=False, full=True, micro_tokens=64)
    run = finetuning.SftRun(roles, demonstrations(), config, TrainingState())
    finetuning.accumulate(roles, "base", demonstrations(), config)
    return list(run.weights.values())


def of_reward(team: Team) -> list[nn.Parameter]:
    roles = made(team, "reward", heads=["reward"])
    config = RewardConfig(autocast=False, token_budget=64, lora=tiny.LORA)
    run = reward_model.RewardRun(roles, rankings(), rankings()[:2], config, TrainingState())
    run.accumulate("reward", rankings())
    return roles.parameters_of("reward")


def of_dpo(team: Team) -> list[nn.Parameter]:
    roles = made(team, "policy")
    dpo.accumulate(roles, rankings(), DpoConfig(autocast=False, token_budget=64, lora=tiny.LORA))
    return roles.parameters_of("policy")


def of_ppo(team: Team) -> list[nn.Parameter]:
    roles = made(team, "policy", "value", heads=["value"])
    _update(roles, ppo.targets_of(_fixed_rollout(), PPO, 0.3), ("policy", "value"))
    return [*roles.parameters_of("policy"), *roles.parameters_of("value")]


def of_rloo(team: Team) -> list[nn.Parameter]:
    roles = made(team, "policy")
    _update(roles, rloo.targets_of(_fixed_rollout(), RlooConfig(2, PPO), 0.3), ("policy",))
    return roles.parameters_of("policy")


LOOPS: dict[str, Callable[[Team], list[nn.Parameter]]] = {
    "sft": of_sft,
    "recomputed sft": of_recomputed_sft,
    "full sft": of_full_sft,
    "reward": of_reward,
    "dpo": of_dpo,
    "ppo": of_ppo,
    "rloo": of_rloo,
}


def _update(roles: Roles, targets: Targets, trained: Sequence[str]) -> None:
    parts = {name: part for name, part in ppo.losses_of(PPO).items() if name in trained}
    update = ppo.Update(roles, PPO, TrainingState(), parts, trained=trained)
    update.accumulate(targets, range(PPO.episodes), MetricSums())


def _fixed_rollout() -> Rollout:
    """Sample once, alone; roles that moved since give ratios away from 1."""
    roles = made(Team(), "policy", "value", heads=["value"])
    found = rollout.collect(
        roles,
        prompts(PPO.episodes),
        LikesOneSide(),
        rollout.seeded(PPO.sampling, 0, 1),
        PPO.forward,
        with_values=True,
    )
    noise = torch.rand(found.logprobs.shape, generator=torch.Generator().manual_seed(0))
    return replace(found, logprobs=found.logprobs + 0.1 * noise)


def differences(team: Team) -> dict[str, float]:
    """Return each loop's largest difference; a gradient of nothing would hide one."""
    found = {}
    for name, loop in LOOPS.items():
        together = [_gradient(each) for each in loop(team)]
        alone = [_gradient(each) for each in loop(Team())]
        if not sum(float(each.abs().sum()) for each in alone) > 0.0:
            raise AssertionError(f"{name} has no gradient")
        pairs = zip(together, alone, strict=True)
        found[name] = max(float((one - two).abs().max()) for one, two in pairs)
    return found


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        raise AssertionError("a trained weight has no gradient")
    return sharding.whole(parameter.grad)


def samples(team: Team) -> list[list[int]]:
    """Return what is sampled for a step, whichever process samples which part."""
    roles = made(team, "policy", "value", heads=["value"])
    found = rollout.collect(
        roles,
        prompts(5),
        LikesOneSide(),
        rollout.seeded(PPO.sampling, 0, 1),
        PPO.forward,
        with_values=True,
    )
    return [list(each.token_ids) for each in found.episodes.completions]


def winners(team: Team) -> list[tuple[str, int]]:
    roles = made(team, "policy")
    config = BestOfNConfig(sampling=SamplingConfig(n=3, max_new_tokens=6)).sampling
    found = best_of_n.winners(roles, prompts(5), LikesOneSide(), config)
    return [(each.prompt.key, each.completion.sample_index) for each in found]


def scores(team: Team) -> list[float]:
    roles = made(team, "reward", heads=["reward"])
    reward = scoring.AdapterReward(roles, ("reward",), scoring.probe(roles), autocast=False)
    branches = [branches_of(each) for each in rankings()]
    found: list[float] = scoring.raw_together(reward, branches)[0].tolist()
    return found


def steps(team: Team) -> tuple[list[dict[str, float]], list[float]]:
    """Train a policy for some steps; return its figures but for the times, and its weights."""
    roles = made(team, "sft")
    config = replace(PPO, steps=2, epochs=2, minibatches=2)
    ppo.prepare(roles, config, reward=None)
    roles.heads.double()
    reports = ppo.train(roles, prompts(6), prompts(3), LikesOneSide(), config, TrainingState())
    figures = [
        {k: v for k, v in each.metrics.items() if not k.startswith(("time/", "speed/"))}
        for each in reports
    ]
    weights = torch.cat([each.detach().flatten() for each in roles.parameters_of("policy")])
    return figures, weights.tolist()


def everything(team: Team) -> dict[str, object]:
    """Return what must not depend on how many processes there are."""
    figures, weights = steps(team)
    return {
        "samples": samples(team),
        "winners": winners(team),
        "scores": scores(team),
        "figures": figures,
        "weights": weights,
    }


@contextmanager
def own_code() -> Iterator[None]:
    """Use the model's own forward pass, the only one that a divided model has.

    The handwritten ones differ from it by the rounding of its norms, which are in fp32.
    """
    written, fused = llama.FAMILIES, decoding.FUSED_FAMILIES
    llama.FAMILIES = decoding.FUSED_FAMILIES = ()  # type: ignore[assignment]
    try:
        yield
    finally:
        llama.FAMILIES, decoding.FUSED_FAMILIES = written, fused


def full_steps(
    team: Team, count: int, saved: Path | None = None, state: TrainingState | None = None
) -> Roles:
    """Train all weights up to a step; with a folder, save after the second, all together."""
    state = state or TrainingState()
    roles = made(team)
    config = SftConfig(batch_size=3, autocast=False, full=True, micro_tokens=64, epochs=4)
    run = finetuning.SftRun(roles, demonstrations(), config, state)
    while state.step < count:
        run.step()
        if saved is not None and state.step == SAVED_AT:
            if team.is_first:
                saved.mkdir()
            team.gather([None])
            (state.save if team.is_first else state.save_parts)(saved)
    return roles


def saved_whole(roles: Roles, folder: Path) -> dict[str, list[float]]:
    """Save the whole model as a folder, and return the weights that plain transformers loads."""
    saving.save_full(roles.loaded, folder)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    return {name: weight.flatten().tolist() for name, weight in plain.state_dict().items()}


def led(team: Team, other: Team) -> list[object]:
    """Return which of the launcher's ranks come first in a team that another process leads."""
    return [other.gather([team.rank]), other.once(lambda: team.rank), other.is_first]


def main(out: Path) -> None:
    """Compute all of it together and alone; the first process writes what came of it."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    team = Team.launched(cpu=True)
    content: dict[str, object] = {
        "differences": differences(team),
        "together": everything(team),
        "ranks": team.gather([team.rank]),
        "shares": team.gather([team.share([5, 9, 2, 7, 3])]),
        "weights": team.gather([steps(team)[1]]),
        "led by the second": led(team, Team.launched(cpu=True, leads=not team.is_first)),
    }
    with own_code():
        divided = Team.launched(cpu=True)
        divided.shards = True
        content["divided differences"] = differences(divided)
        content["divided"] = everything(divided)
        trained = full_steps(divided, STEPS, out.with_name("state"))
        trained.gather()
    team.leave()
    if team.is_first:
        content["alone"] = everything(team)
        out.write_text(json.dumps(content | alone_after(trained, out.parent)))


def alone_after(trained: Roles, folder: Path) -> dict[str, object]:
    """Return what one process computes, and what it makes of the model that two have divided."""
    state = TrainingState()
    state.restore(folder / "state")
    with own_code():
        return {
            "alone with own code": everything(Team()),
            "trained divided": saved_whole(trained, folder / "divided"),
            "continued alone": saved_whole(
                full_steps(Team(), STEPS, state=state), folder / "continued"
            ),
            "trained alone": saved_whole(full_steps(Team(), STEPS), folder / "alone"),
        }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
