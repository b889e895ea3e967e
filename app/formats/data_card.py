"""What lies beside the data of an export, so that other programs find it without being told.

The header of the card is the YAML that Hugging Face reads: `datasets.load_dataset(folder)` finds
the file, its split and its types there. LLaMA-Factory reads `dataset_info.json`.
"""

import json
import re
from collections.abc import Iterator, Sequence

from app.domain.splits import Split
from app.formats import llama_factory
from app.formats.containers import Container, DataFile
from app.formats.export_columns import Entries, Plain, Struct, Type

_DTYPES = {
    Plain.TEXT: "string",
    Plain.WHOLE: "int64",
    Plain.NUMBER: "float64",
    Plain.TRUTH: "bool",
}
DATASET_INFO = "dataset_info.json"
_LLAMA_FACTORY = {"llama-factory-alpaca": False, "llama-factory-sharegpt": True}


def header(title: str, file: DataFile, splits: Sequence[Split], licence: str = "") -> str:
    """Return the YAML header of the card.

    Rows of several splits in one file form a split that is named after all of them.
    """
    lines = ["---", f"pretty_name: {_quoted(title)}"]
    if licence:
        lines.append(f"license: {_quoted(licence)}")
    lines += [
        "configs:",
        "- config_name: default",
        "  data_files:",
        f"  - split: {'_and_'.join(split for split in Split if split in splits)}",
        f"    path: {_quoted(file.name)}",
    ]
    if file.container is Container.CSV:
        # Otherwise a response such as "None" or "NA" would be read as missing.
        lines += ["  keep_default_na: false", '  na_values: [""]']
    if file.columns:
        lines += ["dataset_info:", "  features:"]
        for name, kind in file.columns.items():
            lines += [f"  {line}" for line in _feature(name, kind)]
    return "\n".join([*lines, "---", "", ""])


def dataset_info(format: str, title: str, file: DataFile) -> bytes | None:
    """Return LLaMA-Factory's description of a file in one of its formats; None for others."""
    if format not in _LLAMA_FACTORY:
        return None
    name = re.sub(r"\W+", "_", title.lower()).strip("_")
    entry = llama_factory.dataset_info(name, file.name, sharegpt=_LLAMA_FACTORY[format])
    return (json.dumps(entry, ensure_ascii=False, indent=2) + "\n").encode()


def _feature(name: str, kind: Type) -> Iterator[str]:
    yield f"- name: {_quoted(name)}"
    yield from (f"  {line}" for line in _type(kind))


def _type(kind: Type) -> Iterator[str]:
    if isinstance(kind, Entries):
        yield from _type(kind.stored)
    elif isinstance(kind, Struct):
        yield "struct:"
        for name, of in kind.fields.items():
            yield from _feature(name, of)
    elif isinstance(kind, Plain):
        yield f"dtype: {_DTYPES[kind]}"
    elif isinstance(kind.of, Plain):
        yield f"list: {_DTYPES[kind.of]}"
    elif isinstance(kind.of, Struct):
        yield "list:"
        for name, of in kind.of.fields.items():
            yield from _feature(name, of)
    else:
        yield "list:"
        yield from (f"  {line}" for line in _type(kind.of))


def _quoted(text: str) -> str:
    """Quote a text for YAML, of which JSON's texts are a part."""
    return json.dumps(" ".join(text.split()))
