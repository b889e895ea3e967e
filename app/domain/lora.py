"""The shape of LoRA adapters, a setting of every training."""

from dataclasses import dataclass

from app.domain.bounds import between


@dataclass(frozen=True, slots=True)
class Lora:
    """The shape of a LoRA adapter."""

    r: int = 16
    alpha: int = 32

    def __post_init__(self) -> None:
        between("LoRA r", self.r, 1, 1024)
        between("LoRA alpha", self.alpha, 1, 4096)
