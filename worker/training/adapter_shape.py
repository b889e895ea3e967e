"""The shape of a new adapter: rank and scale as planned, on the layers that suit the model."""

from app.domain.lora import Lora
from worker.rlhf.model import encoder_decoder
from worker.rlhf.model.roles import LoraSettings, Roles


def of(lora: Lora, roles: Roles) -> LoraSettings:
    """Return the settings of a new adapter: on q and v of an encoder–decoder, else on all."""
    return LoraSettings(lora.r, lora.alpha, encoder_decoder.lora_targets(roles.causal))
