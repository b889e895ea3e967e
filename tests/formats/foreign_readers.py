"""Exports of every format and container, read by other libraries; see docs/checks.md.

`write FOLDER` runs in the environment of Attune and exports a small project. `read FOLDER` runs in
an environment that has the other libraries and not Attune, so it imports nothing of it.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

CACHE = "_cache"
ROWS = 40
TEXTS = ("=1+1", "-no", "None", "NA", "42", "", "'@a", 'b "c",\nd', "Grüße\r\n𝕏", "true", " 1.50")
FORMULA = "=+-@\t\r"


def write(folder: Path) -> None:
    """Export every format in every container that it fits, with the rows as lines beside it."""
    containers, errors, export_rows = (
        import_module(name)
        for name in ("app.formats.containers", "app.errors", "app.services.datasets.export_rows")
    )
    for format in export_rows.TITLES:
        for container in containers.Container:
            try:
                containers.check(format, container)
            except errors.Invalid as reason:
                print(f"not written: {reason}")  # noqa: T201 - for the person who runs it
                continue
            _export(folder / f"{format}.{container}", format, container)


def _export(folder: Path, format: str, container: str) -> None:
    """Write a folder as the export job does, and `expected.jsonl`."""
    data_card, judged, rows, containers, splits = (
        import_module(name)
        for name in (
            "app.formats.data_card",
            "app.services.datasets.judged_comparisons",
            "app.services.datasets.export_rows",
            "app.formats.containers",
            "app.domain.splits",
        )
    )
    folder.mkdir(parents=True)
    account = rows.Account()
    options = judged.ExportOptions(container=container)
    lines = list(rows.write(_comparisons(format), format, options, account))
    (folder / "expected.json").write_bytes(b"[" + b",".join(lines) + b"]")
    file = containers.write(folder, "data", lines, format, container)
    title = f"{format}, export 1"
    header = data_card.header(title, file, (splits.Split.TRAIN,))
    manifest = account.tally.manifest(title, format, {}, file=file.facts)
    (folder / "README.md").write_text(header + manifest.card(), encoding="utf-8")
    described = data_card.dataset_info(format, title, file)
    if described is not None:
        (folder / data_card.DATASET_INFO).write_bytes(described)


def _comparisons(format: str) -> Iterator[Any]:
    """Yield comparisons of texts that are hard to carry, and of conversations where they fit."""
    from dataclasses import replace  # noqa: PLC0415 - the reading side has none of these

    from app.domain.judgment_kinds import JudgmentKind  # noqa: PLC0415
    from tests.services.datasets import test_export_rows as sample  # noqa: PLC0415

    for n in range(ROWS):
        texts = (TEXTS[n % len(TEXTS)], f"{TEXTS[(n + 1) % len(TEXTS)]} ({n})")
        vote = sample.vote(n, sample.A_BETTER, text=f"written {n}", thumb="up")
        made = sample.comparison(vote, number=n, texts=texts)
        turns: tuple[dict[str, str], ...] = ({"role": "user", "content": f"Why {n}?"},)
        if "text" not in format and n % 2 and format not in ("vertex-rlhf", "hh", "unpaired"):
            turns = (*turns, {"role": "assistant", "content": "So."}, *turns)
        made = replace(made, prompt=replace(made.prompt, messages=turns), kind=JudgmentKind.PICK)
        yield made


def read(folder: Path) -> None:
    """Read each folder with `datasets`, pandas and polars, and compare with what was exported."""
    for path in sorted(set(folder.iterdir()) - {folder / CACHE}):
        format, _, container = path.name.partition(".")
        expected = json.loads((path / "expected.json").read_text(encoding="utf-8"))
        readers: dict[str, Callable[[Path, str], list[dict[str, Any]]]] = {"datasets": _datasets}
        if container in ("parquet", "csv"):
            readers |= {"pandas": _pandas, "polars": _polars}
        for name, reader in readers.items():
            rows = reader(path, container)
            assert len(rows) == len(expected), (path, name, len(rows), len(expected))
            if format not in ("rich", "training"):
                wanted = [_as_in(container, row) for row in expected]
                assert [_plain(row) for row in rows] == wanted, (path, name, rows[0], wanted[0])
        print(f"{path.name}: {len(expected)} rows, {', '.join(readers)}")  # noqa: T201
        if format.startswith("trl-") and container in ("jsonl", "parquet"):
            _trl(path, format)
        if (path / "dataset_info.json").exists():
            _llama_factory(path, len(expected))


def _datasets(path: Path, container: str) -> list[dict[str, Any]]:
    del container
    loaded = import_module("datasets").load_dataset(str(path), cache_dir=str(path.parent / CACHE))
    assert list(loaded) == ["train"]
    return [dict(row) for row in loaded["train"]]


def _pandas(path: Path, container: str) -> list[dict[str, Any]]:
    pandas = import_module("pandas")
    if container == "parquet":
        frame = pandas.read_parquet(path / "data.parquet")
    else:
        texts = dict.fromkeys(TEXT_COLUMNS, str)
        frame = pandas.read_csv(
            path / "data.csv", dtype=texts, keep_default_na=False, na_values=[""]
        )
    return [dict(row) for row in frame.to_dict("records")]


def _polars(path: Path, container: str) -> list[dict[str, Any]]:
    polars = import_module("polars")
    if container == "parquet":
        return list(polars.read_parquet(path / "data.parquet").to_dicts())
    numbers = {"margin": polars.Float64, "choice": polars.Int64}
    frame = polars.read_csv(path / "data.csv", infer_schema=False)
    given = {name: kind for name, kind in numbers.items() if name in frame.columns}
    return list(
        frame.with_columns(polars.col(name).cast(kind) for name, kind in given.items()).to_dicts()
    )


TEXT_COLUMNS = (
    *("prompt", "chosen", "rejected", "input_text", "candidate_0", "candidate_1", "completion"),
)


def _as_in(container: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a reader sees it that knows nothing of the apostrophes in CSV."""
    return row if container != "csv" else {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    bare = value.lstrip("'")
    return "'" + value if not bare or bare[0] in FORMULA else value


def _plain(value: Any) -> Any:
    """Return lists and objects without the types of a library."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _trl(path: Path, format: str) -> None:
    """Check that TRL recognizes the form and extracts a prompt."""
    try:
        data_utils = import_module("trl.data_utils")
    except ImportError as error:
        print(f"  TRL not checked: {error}")  # noqa: T201
        return
    row = _datasets(path, "")[1]
    assert data_utils.is_conversational(row) == (not format.endswith("-text")), row
    extracted = data_utils.maybe_extract_prompt(row)
    assert {"prompt", "chosen", "rejected"} <= set(extracted), extracted
    print(f"  TRL: prompt {str(extracted['prompt'])[:60]!r}")  # noqa: T201


def _llama_factory(path: Path, rows: int) -> None:
    """Load the data set by its description with LLaMA-Factory's loader, where it is installed."""
    try:
        loader, parser = (
            import_module(f"llamafactory.data.{name}") for name in ("loader", "parser")
        )
        arguments = import_module("llamafactory.hparams")
    except (ImportError, RuntimeError) as error:
        print(f"  LLaMA-Factory not checked: {error}")  # noqa: T201
        return
    (name,) = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
    (described,) = parser.get_dataset_list([name], str(path))
    data_arguments = arguments.DataArguments(dataset=name, dataset_dir=str(path))
    training = import_module("transformers").Seq2SeqTrainingArguments("out")
    model = arguments.ModelArguments(model_name_or_path="none", cache_dir=str(path.parent / CACHE))
    aligned = loader._load_single_dataset(described, model, data_arguments, training)
    assert len(aligned) == rows
    good = sum([turn["role"] for turn in row["_response"]] == ["assistant"] * 2 for row in aligned)
    assert good == rows, (path, good)
    print(f"  LLaMA-Factory: {good} of {rows} rows, {aligned[0]['_prompt']}")  # noqa: T201


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
