"""Files that come in or go out: one module per format, all of them values in and values out.

Reading and detecting go through here; writers are in `writers` and in the modules of the formats.
"""

from app.formats.preview import preview
from app.formats.registry import detect, names, read

__all__ = ["detect", "names", "preview", "read"]
