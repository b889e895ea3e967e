"""`train`: SFT, reward models and policies from plain files, without a server or a database."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

import typer

from app.cli.console import emit, say
from app.domain.chat_settings import ChatSettings
from app.domain.plan import Parallel, RoundPlan
from app.errors import Invalid
from worker.commands.options import (
    Reading,
    Running,
    SamplingModel,
    SamplingServer,
    Training,
    flattened,
)
from worker.commands.plans import plan_of
from worker.commands.reward_options import parts_of
from worker.commands.watching import Watching, ending_on_signals, load, refusing
from worker.files.source import Source
from worker.orders import Orders

ALGORITHMS: Final = ("ppo", "rloo", "best-of-n")
EVERY_PROMPT: Final = "prompts=10000000"
"""A round uses a limited number of a project's prompts; a file's prompts are all used."""
DPO_DEFAULTS: Final = {"batch_size": 16, "learning_rate": 1e-4}

MaxSteps = Annotated[int | None, typer.Option(help="Stop after this many steps.")]
LoraR = Annotated[int | None, typer.Option(help="Rank of a new LoRA adapter.")]
MaxNewTokens = Annotated[int | None, typer.Option(help="Maximum response length, in tokens.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    train = typer.Typer(no_args_is_help=True)
    for command in (sft, reward, policy, dpo):
        train.command()(flattened(command))
    app.add_typer(train, name="train", help="Train from a plain file: no server, no database.")


def sft(
    reading: Reading,
    running: Running,
    training: Training,
    full: Annotated[
        bool, typer.Option("--full", help="Train all weights, not an adapter.")
    ] = False,
    max_steps: MaxSteps = None,
    lora_r: LoraR = None,
) -> None:
    """Fine-tune on demonstrations. The model `starter` is a small one built from their words."""
    settings = {"max_steps": max_steps, "is_full": full or None, "lora.r": lora_r}
    plan = _plan("sft", running, training, settings)
    _run("sft", reading, running, training, plan)


def reward(
    reading: Reading,
    running: Running,
    training: Training,
    ensemble: Annotated[int | None, typer.Option(help="Number of reward models.")] = None,
    margin: Annotated[
        bool, typer.Option("--margin", help="Use strengths as margins in the loss.")
    ] = False,
    max_steps: MaxSteps = None,
    lora_r: LoraR = None,
) -> None:
    """Fit a reward model to judgments: pairs, rankings, ratings on criteria, or thumbs."""
    settings = {
        "ensemble": ensemble,
        "use_margin": margin or None,
        "max_steps": max_steps,
        "lora.r": lora_r,
    }
    plan = _plan("reward", running, training, settings)
    _run("reward", reading, running, training, plan)


def policy(
    reading: Reading,
    running: Running,
    training: Training,
    reward: Annotated[
        str, typer.Option("--reward", "-r", help="Folder of a reward model that Attune trained.")
    ] = "",
    reward_part: Annotated[
        list[str] | None,
        typer.Option(
            "--reward-part",
            help="A reward, as kind:setting=value,…; repeatable. Kinds: classifier, reward_model, "
            "endpoint, judge, length, format. "
            "Example: classifier:model=FOLDER,label=toxic,weight=-1.",
        ),
    ] = None,
    safety: Annotated[
        str | None,
        typer.Option(help="Put safety first: the name of the reward that says what is safe."),
    ] = None,
    algorithm: Annotated[str, typer.Option(help="ppo, rloo, or best-of-n.")] = "ppo",
    samples: Annotated[
        int | None, typer.Option(help="Responses per prompt, for rloo and best-of-n.")
    ] = None,
    max_steps: MaxSteps = None,
    max_new_tokens: MaxNewTokens = None,
    kl_coefficient: Annotated[float | None, typer.Option(help="KL coefficient.")] = None,
    sampling_server: SamplingServer = None,
    sampling_model: SamplingModel = None,
) -> None:
    """Train a policy on prompts against a reward model, other rewards, or a sum of them."""
    parts = parts_of(reward_part or ())
    _refuse_without_reward(reward, parts, training)
    if algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise Invalid(f"the algorithm must be one of {known}, not {algorithm!r}")
    settings = {
        "algorithm": algorithm,
        "samples": samples,
        "max_steps": max_steps,
        "kl_coefficient": kl_coefficient,
        "sampling.max_new_tokens": max_new_tokens,
        "sampling_server.url": sampling_server,
        "sampling_server.model": sampling_model,
        "reward.parts": parts or None,
        "reward.combination": None if safety is None else "safety_first",
        "reward.safety": safety,
    }
    if not reward:
        settings["reward.weight"] = 0.0
    plan = _plan("policy", running, training, settings, first=[EVERY_PROMPT])
    _run("policy", reading, running, training, plan, reward)


def dpo(
    reading: Reading,
    running: Running,
    training: Training,
    beta: Annotated[float | None, typer.Option(help="DPO's KL coefficient.")] = None,
    max_steps: MaxSteps = None,
    lora_r: LoraR = None,
) -> None:
    """Train a policy on judged comparisons, without a reward model."""
    own = {"kl_coefficient": beta, "max_steps": max_steps, "lora.r": lora_r}
    settings = {"algorithm": "dpo", **DPO_DEFAULTS, **own}
    plan = _plan("policy", running, training, settings)
    _run("dpo", reading, running, training, plan)


def _refuse_without_reward(
    reward: str, parts: Sequence[dict[str, Any]], training: Training
) -> None:
    is_set = any(setting.startswith("reward.parts=") for setting in training.set or ())
    if not reward and not parts and not is_set:
        raise Invalid("a policy needs a reward: --reward FOLDER, or at least one --reward-part")


def _plan(
    section: str,
    running: Running,
    training: Training,
    settings: dict[str, Any],
    *,
    first: Sequence[str] = (),
) -> RoundPlan:
    options = {name: value for name, value in training.given.items() if value is not None}
    general = {
        "seed": running.seed,
        "four_bit": running.four_bit or None,
        "checkpoints_gradients": training.checkpoint_gradients or None,
        "token_budget": training.token_budget,
        "parallel": None if training.parallel is Parallel.DATA else str(training.parallel),
    }
    return plan_of(section, {**settings, **options, **general}, [*first, *(training.set or [])])


def _run(
    kind: str,
    reading: Reading,
    running: Running,
    training: Training,
    plan: RoundPlan,
    reward: str = "",
) -> None:
    """Train, show progress, and print where the model is."""
    if reading.chat != ChatSettings():
        plan = replace(plan, chat=reading.chat)
    launching = load("worker.commands.launching")
    team = launching.joined()
    if training.processes > 1 and team is None:
        launching.start(training.processes, running.torch_device)
    is_first = team is None or team.is_first
    orders = Orders()
    with (
        refusing(is_first=is_first, leave_status=launching.leave_status),
        Watching(as_json=running.json and is_first, is_quiet=not is_first) as watching,
    ):
        watching.say("Loading …")
        requests = load("worker.files.training_request")
        train = load(f"worker.files.{kind}").run
        heldout = training.heldout
        request = requests.TrainingRequest(
            kind=kind,
            model=running.model,
            data=reading.source,
            plan=plan,
            heldout=heldout and Source(heldout, reading.format, reading.skip_bad),
            heldout_percent=training.heldout_share,
            instruction=reading.instruction,
            device=running.torch_device,
            save_every=training.save_every,
            reward=reward,
        )
        folder = load("worker.files.run_folder").RunFolder(running.output, watching, orders, team)
        with (
            folder.held(request.identity(), restart=running.restart),
            ending_on_signals(orders, watching),
        ):
            outcome = requests.run(request, folder, train)
    launching.leave_status(0)
    if not is_first or outcome is None:
        return
    if running.json:
        emit({"event": "done", **outcome.to_json()})
        return
    reason = outcome.metrics.get("stop_reason", "")
    state = "is already trained" if outcome.was_there else f"is ready ({reason})"
    say(f"The model {state}: {outcome.model}")
