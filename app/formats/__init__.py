"""File formats for import and export: one module per format, from values to values.

Detection and reading go through this package; writers are in `writers` and the format modules.
"""

from app.formats.preview import preview
from app.formats.registry import detect, names, read

__all__ = ["detect", "names", "preview", "read"]
