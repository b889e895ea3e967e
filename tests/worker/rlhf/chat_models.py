"""Random two-layer models whose tokens, ends and templates behave like those of published ones.

The templates are written for these tests; each has one published family's traits.
"""

from dataclasses import dataclass, replace

import torch
from tokenizers import AddedToken
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.worker.rlhf import tiny
from worker.rlhf.model import models
from worker.rlhf.model.models import LoadedModel

VOCABULARY = 272
REFUSE_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn here') }}{% endif %}"
)
REFUSE_REPEATS = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate between user and assistant') }}"
    "{% endif %}{% endfor %}"
)
ALTERNATING = (
    f"{{{{ bos_token }}}}{REFUSE_SYSTEM}{REFUSE_REPEATS}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = MARKED.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
SEPARATED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)
BRACKETED = (
    f"{{{{ bos_token }}}}{REFUSE_REPEATS}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
SILENT = (
    "{% for m in messages %}{% if m.role != 'system' %}[{{ m.content }}]{% endif %}{% endfor %}"
)
"""Ignores the system turn without a word."""


@dataclass(frozen=True, slots=True)
class Family:
    """Traits of a published family: its tokens, the ids in its configs, and what is expected."""

    template: str | None
    tokens: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()  # added, but not as special tokens
    eos: str = "</s>"
    generation: tuple[str, ...] = ("</s>",)
    pad: str = "<pad>"
    ends: tuple[str, ...] = ("</s>",)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One token per byte, and the family's own."""
        made = tiny.tokenizer()
        made.add_tokens([AddedToken(token, special=True) for token in self.tokens])
        made.add_tokens([AddedToken(token, special=False) for token in self.unmarked])
        made.eos_token, made.pad_token = self.eos, self.pad
        made.chat_template = self.template
        return made

    def loaded(self) -> LoadedModel:
        """A random model, as if it had been loaded from a folder."""
        tokens = self.tokenizer()
        config = tiny.tiny_config()
        config.vocab_size = VOCABULARY
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = LlamaForCausalLM(config)
        ids = [tokens.convert_tokens_to_ids(token) for token in self.generation]
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=ids if len(ids) > 1 else ids[0], bos_token_id=1
        )
        return models.adopt(model, tokens, "family")


_IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
MARKED_FAMILY = Family(MARKED, _IM, ends=("<|im_end|>", "</s>"))
"""Its generation config does not know the end of a turn."""
FAMILIES = {
    "alternating": Family(
        ALTERNATING,
        ("<start_of_turn>", "<end_of_turn>"),
        generation=("</s>", "<end_of_turn>"),
        ends=("<end_of_turn>", "</s>"),
    ),
    "headers": Family(
        HEADERS,
        (
            *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
            "<|reserved_special_token_0|>",
        ),
        eos="<|eot_id|>",
        generation=("</s>", "<|eom_id|>", "<|eot_id|>"),
        pad="</s>",
        ends=("<|eot_id|>", "</s>", "<|eom_id|>"),
    ),
    "thinking": Family(
        THINKING,
        _IM,
        ("<think>", "</think>"),
        eos="<|im_end|>",
        generation=("<|im_end|>", "<|endoftext|>"),
        pad="<|endoftext|>",
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    "separated": Family(
        SEPARATED,
        (*_IM, "<|im_sep|>"),
        eos="<|endoftext|>",
        generation=("<|endoftext|>", "<|im_end|>"),
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    "bracketed": Family(BRACKETED, ("[INST]", "[/INST]")),
    "marked": MARKED_FAMILY,
    "unmarked end": replace(MARKED_FAMILY, tokens=("<|im_start|>",), unmarked=("<|im_end|>",)),
    "silent": Family(SILENT),
    "plain": Family(None),
}
