"""How many tokens a forward pass of a training takes: what the plan says, or what memory allows.

On a CPU the loops' own budgets are the fastest ones: larger passes do not fit into its caches.
"""

from transformers import PretrainedConfig

from worker.rlhf.core import memory_room
from worker.rlhf.model.roles import Roles

LEAST, MOST = 512, 65_536
"""Bounds of a budget by free memory; beyond the upper one, passes do not become faster."""
HALF = 2  # bytes of a number that is kept in bf16


def of(roles: Roles, wanted: int | None, usual: int, *, recomputes: bool = False) -> int:
    """Return the tokens per forward pass.

    Args:
        roles: the loaded model.
        wanted: the plan's; None: by the free memory of the device.
        usual: the loop's own, on a CPU.
        recomputes: whether gradient checkpointing keeps the inputs of layers alone.
    """
    if wanted is not None:
        return wanted
    free = memory_room.free_bytes(roles.device)
    if free is None:
        return usual
    per_token = bytes_per_token(roles.causal.config.get_text_config(), recomputes=recomputes)
    tokens = memory_room.tokens_for(free, per_token, least=LEAST, most=MOST)
    # Processes that divide a model take the same passes.
    return min(roles.team.gather([tokens])) if roles.team.is_sharding else tokens


def bytes_per_token(config: PretrainedConfig, *, recomputes: bool) -> int:
    """Return about how much a token takes from a forward pass to its backward pass, in bytes.

    In a layer, about 16 vectors of the model's width and five of its feed-forward width are kept in
    bf16 (norms, projections, attention, gate, and the inputs of adapters).
    """
    width = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", None) or 4 * width)
    layer = HALF * (16 * width + 5 * inner)
    kept = HALF * width if recomputes else layer
    return int(config.num_hidden_layers) * kept + layer
