"""One module per page: form, context dataclass, routes."""
