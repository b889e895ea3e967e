"""Mutation check: break each invariant of the learning core and verify that a test fails.

    python -m tests.worker.rlhf.broken [INVARIANT …]

Works in a copy of the sources. Each invariant is broken in one or more ways; the test named for
each break must pass on the unmodified copy and fail on the broken one. The exit status is 1 if one
does not.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
COPIED = ("app", "worker", "tests", "pyproject.toml")
CORE, TESTS = "worker/rlhf", "tests/worker/rlhf"
PASSED, FAILED = 0, 1  # exit statuses of pytest; any other means that no test ran


@dataclass(frozen=True, slots=True)
class Break:
    """A wrong line in the learning core, and the test that must fail."""

    invariant: int
    what: str
    module: str
    right: str
    wrong: str
    test: str

    def apply(self, root: Path) -> None:
        """Replace the line in a copy of the sources.

        Raises:
            ValueError: if the line does not occur exactly once.
        """
        path = root / CORE / self.module
        text = path.read_text(encoding="utf-8")
        if text.count(self.right) != 1:
            raise ValueError(f"{self.module} has {self.right!r} {text.count(self.right)} times")
        path.write_text(text.replace(self.right, self.wrong), encoding="utf-8")

    def undo(self, root: Path) -> None:
        """Restore the line."""
        shutil.copy(ROOT / CORE / self.module, root / CORE / self.module)


BREAKS = (
    Break(
        1,
        "old log-probabilities are the reference's",
        "policy/ppo.py",
        "log_ratio = logprobs - targets.of(batch, targets.rollout.logprobs)",
        "log_ratio = logprobs - targets.of(batch, targets.rollout.reference)",
        "policy/test_ppo.py::test_the_first_minibatchs_ratio_is_one_wherever_the_policy_is",
    ),
    Break(
        1,
        "the training forward ignores the temperature",
        "policy/rollout.py",
        "batch.targets,\n            forward.temperature,",
        "batch.targets,\n            1.0,",
        "policy/test_ppo.py::test_the_samplers_log_probs_are_those_of_the_training_forward",
    ),
    Break(
        1,
        "a new adapter changes the model",
        "model/roles.py",
        "            self._inject(name, settings)\n",
        "            self._inject(name, settings)\n"
        "            for key, p in self.causal.named_parameters():\n"
        "                if f'.lora_B.{name}.' in key:\n"
        "                    torch.nn.init.normal_(p)\n",
        "policy/test_ppo.py::test_kl_to_the_reference_is_zero_before_the_first_step_and_not_after",
    ),
    Break(
        2,
        "micro-batches are divided by their own tokens",
        "policy/ppo.py",
        "torch.autograd.backward(weight * loss_sum / tokens)",
        "torch.autograd.backward(loss_sum / int(batch.is_response.sum()))",
        "policy/test_ppo.py::test_gradients_do_not_depend_on_the_micro_batches",
    ),
    Break(
        2,
        "positions count the padding",
        "core/batches.py",
        "return (is_real.long().cumsum(-1) - 1).clamp(min=0)",
        "return torch.arange(is_real.shape[-1]).expand(is_real.shape)",
        "policy/test_ppo.py::test_log_probs_do_not_depend_on_padding",
    ),
    Break(
        2,
        "packed sequences attend to each other",
        "core/batches.py",
        "same = owner[:, :, None] == owner[:, None, :]",
        "same = (owner[:, :, None] >= 0) == (owner[:, None, :] >= 0)",
        "model/test_roles.py::test_hidden_states_do_not_depend_on_packing",
    ),
    Break(
        2,
        "completions of one prompt attend to each other",
        "reward/shared_prefix.py",
        "is_visible = (key == query) | ((key == PROMPT_SEGMENT) & (query != PADDING_SEGMENT))",
        "is_visible = (key != PADDING_SEGMENT) & (query != PADDING_SEGMENT)",
        "reward/test_shared_prefix.py",
    ),
    Break(
        3,
        "advantages ignore lambda",
        "policy/advantages.py",
        "(delta + gamma * lam * next_advantage)",
        "(delta + gamma * next_advantage)",
        "policy/test_advantages.py::test_advantage_with_lambda_zero_is_the_td_error",
    ),
    Break(
        3,
        "the next value is left out",
        "policy/advantages.py",
        "delta = rewards[:, t] + gamma * next_value - values[:, t]",
        "delta = rewards[:, t] - values[:, t]",
        "policy/test_advantages.py::test_advantage_with_lambda_one_is_return_minus_value",
    ),
    Break(
        3,
        "whitening counts masked tokens",
        "policy/advantages.py",
        "real = values[is_real]",
        "real = values.flatten()",
        "policy/test_advantages.py::test_whitened_values_have_mean_zero_and_variance_one_over_real_tokens",
    ),
    Break(
        4,
        "adapters have dropout",
        "model/roles.py",
        "lora_dropout=0.0",
        "lora_dropout=0.1",
        "policy/test_ppo.py::test_two_forwards_in_train_mode_are_equal",
    ),
    Break(
        4,
        "the optimizer also trains the base",
        "policy/ppo.py",
        "                roles.parameters_of(role),\n                lr=",
        "                [*roles.parameters_of(role),\n"
        '                 *(p.requires_grad_() for p in roles.parameters_of("base"))],\n'
        "                lr=",
        "policy/test_ppo.py::test_only_policy_and_value_change",
    ),
    Break(
        5,
        "the controller's error is not clipped",
        "policy/kl.py",
        "error = min(max(error, -self.error_limit), self.error_limit)",
        "error = max(error, -self.error_limit)",
        "policy/test_kl.py::test_adaptive_coefficient_at_twice_the_target_grows_by_the_clipped_error",
    ),
    Break(
        5,
        "the controller ignores its target",
        "policy/kl.py",
        "error = kl_nats / self.target_nats - 1.0",
        "error = kl_nats / self.target_nats",
        "policy/test_kl.py::test_adaptive_coefficient_is_unchanged_at_the_target",
    ),
    Break(
        6,
        "a switch leaves other roles frozen",
        "model/roles.py",
        "        self._restore(trainable)\n        self._active = adapter",
        "        self._active = adapter",
        "model/test_roles.py::test_joint_backward_after_a_switch_reaches_both_roles",
    ),
    Break(
        6,
        "a switch is allowed while a checkpointed forward awaits its backward",
        "model/roles.py",
        "if adapter != self._active and any(live.alive for live in self._live):",
        "if False:",
        "model/test_roles.py::test_switch_is_refused_while_a_checkpointed_forward_waits",
    ),
    Break(
        6,
        "the value loss does not reach the value role",
        "policy/ppo.py",
        "return config.value_coefficient * loss, ",
        "return config.value_coefficient * loss.detach().requires_grad_(), ",
        "policy/test_ppo.py::test_gradients_reach_policy_and_value_together_as_each_alone",
    ),
    Break(
        7,
        "optimizers are not restored",
        "core/training_state.py",
        "_fill_optimizer(optimizer, saved.optimizers[name], content)",
        "del optimizer, content",
        "policy/test_ppo.py::test_a_killed_run_resumes_to_bit_equal_metrics_and_weights",
    ),
    Break(
        7,
        "random generators are not restored",
        "core/training_state.py",
        "        _set_random(saved.tensors, saved.random)\n",
        "",
        "core/test_training_state.py::test_restored_run_goes_on_bit_equal",
    ),
    Break(
        7,
        "the step is not restored",
        "core/training_state.py",
        'self.step = document["step"]',
        "self.step = 0",
        "policy/test_ppo.py::test_a_killed_run_resumes_to_bit_equal_metrics_and_weights",
    ),
    Break(
        8,
        "the head is not saved",
        "model/saving.py",
        "{HEAD_KEY: head}",
        "{}",
        "model/test_saving.py::test_reward_adapter_gives_the_same_scores_in_plain_transformers",
    ),
    Break(
        8,
        "the merged model lacks the adapter",
        "model/saving.py",
        'merged = merged_weight(layers[layer]) if rest == "weight" else tensor',
        "merged = tensor",
        "model/test_saving.py::test_merged_reward_model_gives_the_same_scores",
    ),
    Break(
        8,
        "the adapter's scale is not saved",
        "model/saving.py",
        "    config.task_type = task\n",
        "    config.task_type = task\n    config.lora_alpha = 2 * config.lora_alpha\n",
        "model/test_saving.py::test_policy_adapter_is_exactly_equal_in_plain_peft",
    ),
    Break(
        9,
        "gradients are not summed over processes",
        "core/parallel.py",
        "if self._accelerator is None or self.size == 1:\n            return\n        for bucket",
        "if True:\n            return\n        for bucket",
        "core/test_parallel.py::test_gradients_of_one_and_of_two_processes_agree",
    ),
    Break(
        9,
        "gradients of a divided model are averaged over processes",
        "model/sharding.py",
        "module.set_gradient_divide_factor(1.0)",
        "module.set_gradient_divide_factor(2.0)",
        "core/test_parallel.py::test_gradients_of_one_and_of_two_processes_agree",
    ),
    Break(
        9,
        "idle passes of a divided model count",
        "core/parallel.py",
        "[(idle(), 0.0) for _",
        "[(idle(), 1.0) for _",
        "core/test_parallel.py::test_gradients_of_one_and_of_two_processes_agree",
    ),
    Break(
        7,
        "the moments of a divided model's optimizer are not read",
        "core/training_state.py",
        'content = _below(f"optimizers/{name}", saved.tensors | parts)',
        'content = _below(f"optimizers/{name}", saved.tensors | parts)\n'
        "            content = {key: tensor * 0 for key, tensor in content.items()}",
        "core/test_parallel.py::"
        "test_a_model_trained_in_parts_is_saved_whole_and_is_that_of_one_process",
    ),
    Break(
        9,
        "completions are seeded by their position in the batch",
        "sampling/sampling.py",
        "uniforms(config.seed, prompt.key, index, config.max_new_tokens)\n"
        "                for prompt in prompts",
        "uniforms(config.seed, str(position), index, config.max_new_tokens)\n"
        "                for position, prompt in enumerate(prompts)",
        "sampling/test_sampling.py::test_completions_do_not_depend_on_what_else_is_in_the_batch",
    ),
    Break(
        1,
        "rows that end early leave their caches in an encoder–decoder's sampler",
        "sampling/encoder_decoding.py",
        "self._cache.batch_select_indices(index)",
        "self._cache.batch_select_indices(torch.arange(len(rows)))",
        "model/test_encoder_decoder.py::test_rows_that_end_early_leave_the_batch_and_change_nothing",
    ),
    Break(
        2,
        "every row of a decoder reads the first prompt",
        "model/encoder_decoder.py",
        "encoder_hidden_states=states[encoder.prompt_of],",
        "encoder_hidden_states=states[encoder.prompt_of * 0],",
        "model/test_encoder_decoder.py::test_log_probs_do_not_depend_on_the_rest_of_the_batch",
    ),
    Break(
        2,
        "a decoder reads the padding of prompts",
        "model/encoder_decoder.py",
        "encoder_attention_mask=encoder.is_real[encoder.prompt_of],",
        "encoder_attention_mask=None,",
        "model/test_encoder_decoder.py::test_log_probs_do_not_depend_on_the_rest_of_the_batch",
    ),
    Break(
        6,
        "T5's position biases require gradients in training mode only",
        "model/roles.py",
        "encoder_decoder.keep_biases_constant(self.causal)",
        "pass",
        "policy/test_encoder_decoder.py::test_gradients_reach_encoder_and_decoder_of_both_roles",
    ),
    Break(
        8,
        "an output layer of its own is saved as the embedding",
        "model/saving.py",
        "encoder_decoder.untie_as(source, merged_model)",
        "pass",
        "model/test_encoder_decoder.py::test_an_output_layer_of_its_own_survives_saving",
    ),
    Break(
        8,
        "a forced first token is left out",
        "model/encoder_decoder.py",
        "return (start,) if forced is None else (start, forced)",
        "return (start,)",
        "model/test_encoder_decoder.py::test_greedy_text_is_that_of_plain_generate",
    ),
    Break(
        8,
        "the first T5's logits are not scaled",
        "model/encoder_decoder.py",
        "return float(config.d_model) ** -0.5 if is_scaled else None",
        "return None",
        "model/test_encoder_decoder.py::test_log_probs_are_those_of_the_models_own_forward",
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Check the given invariants, print the result of each break, and return the exit status."""
    parser = argparse.ArgumentParser(prog="broken", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("invariants", nargs="*", type=int, default=[], metavar="INVARIANT")
    invariants = parser.parse_args(arguments).invariants
    chosen = [b for b in BREAKS if not invariants or b.invariant in invariants]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part in COPIED:
            _copy(ROOT / part, root / part)
        if _run_tests(root, sorted({b.test for b in chosen})) != PASSED:
            _print("the tests do not pass on the unmodified sources")
            return 1
        missed = [b for b in chosen if not _check(b, root)]
    _print(f"{len(chosen) - len(missed)} of {len(chosen)} breaks noticed")
    return 1 if missed else 0


def _check(mutation: Break, root: Path) -> bool:
    """Apply a break, print whether its test fails, and return it."""
    mutation.apply(root)
    try:
        is_noticed = _run_tests(root, [mutation.test]) == FAILED
    finally:
        mutation.undo(root)
    result = "noticed" if is_noticed else "NOT NOTICED"
    _print(f"{mutation.invariant}  {result:<11}  {mutation.what}")
    return is_noticed


def _run_tests(root: Path, tests: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"{TESTS}/{test}" for test in tests)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
    )
    return done.returncode


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
