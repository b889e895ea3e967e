"""What plain transformers computes of a prompt and a response, for either kind of model."""

from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSeq2SeqLM, PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from worker.rlhf.core.examples import TokenizedDemonstration
from worker.rlhf.model import encoder_decoder, models, saving
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles


def inputs(loaded: LoadedModel, text: TokenizedDemonstration) -> dict[str, Tensor]:
    """Return one row of both, or the prompt for the encoder and the response for the decoder."""
    prompt, response = list(text.prompt_ids), list(text.response_ids)
    if not loaded.is_encoder_decoder:
        return {"input_ids": torch.tensor([[*prompt, *response]])}
    rows = {"input_ids": prompt, "decoder_input_ids": [*loaded.decoder_prefix, *response]}
    return {name: torch.tensor([ids]) for name, ids in rows.items()}


@torch.no_grad()
def logprobs(model: Any, loaded: LoadedModel, text: TokenizedDemonstration) -> Tensor:
    """Return the log-probabilities of every token at the response's places, [T, V]."""
    model.eval()
    before = loaded.decoder_prefix or text.prompt_ids
    rows: Tensor = model(**inputs(loaded, text), use_cache=False).logits[0].log_softmax(-1)
    return rows[len(before) - 1 : -1]


@torch.no_grad()
def last_hidden(roles: Roles, role: str, text: TokenizedDemonstration) -> Tensor:
    """Return the hidden state of the last token in a role, [d]."""
    rows = inputs(roles.loaded, text)
    with roles.role(role):
        if roles.loaded.is_encoder_decoder:
            return _decoded(roles.causal, rows)
        output = models.trunk(roles.causal)(**rows, use_cache=False)
    hidden: Tensor = output.last_hidden_state[0, -1]
    return hidden


def adapted(folder: Path, loaded: LoadedModel) -> Any:
    """Load an adapter with its base, as PEFT does."""
    kinds = (AutoPeftModelForCausalLM, AutoPeftModelForSeq2SeqLM)
    return kinds[loaded.is_encoder_decoder].from_pretrained(str(folder))


def whole(folder: Path, loaded: LoadedModel) -> Any:
    """Load a whole model, as transformers does."""
    return encoder_decoder.auto_class(loaded.model.config).from_pretrained(folder)


@torch.no_grad()
def score(base: Path, reward: Path, loaded: LoadedModel, text: TokenizedDemonstration) -> Tensor:
    """Return the score of a saved reward model, without any code of ours."""
    rows = inputs(loaded, text)
    if not loaded.is_encoder_decoder:
        classifier = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=1, pad_token_id=0
        )
        scored = PeftModel.from_pretrained(classifier, str(reward)).eval()
        found: Tensor = scored(**rows, use_cache=False).logits[0, 0]
        return found
    adapted: Any = PeftModel.from_pretrained(whole(base, loaded), str(reward)).eval()
    head = load_file(reward / saving.ADAPTER_FILE)[saving.HEAD_KEY]
    return _decoded(adapted, rows) @ head[0]


def _decoded(model: Any, rows: dict[str, Tensor]) -> Tensor:
    output = model(**rows, output_hidden_states=True, use_cache=False)
    hidden: Tensor = output.decoder_hidden_states[-1][0, -1]
    return hidden
