"""Names of adapters' parameters: `….lora_A.policy.weight` belongs to the adapter "policy".

Only the part behind `.lora_` names the adapter: a layer of the model may be called like a role, as
`value` in RWKV.
"""

MARK = ".lora_"


def is_adapter(key: str) -> bool:
    """Return whether a parameter belongs to an adapter."""
    return MARK in key


def owner(key: str) -> str | None:
    """Return the adapter that a parameter belongs to, or None if it is the base's."""
    _, found, rest = key.partition(MARK)
    return rest.split(".")[1] if found else None


def with_owner(key: str, name: str | None) -> str:
    """Return the name of the same parameter in another adapter, or in a saved one (None)."""
    layer, mark, rest = key.partition(MARK)
    kind, _, *last = rest.split(".")
    return layer + mark + ".".join([kind, *([] if name is None else [name]), *last])
