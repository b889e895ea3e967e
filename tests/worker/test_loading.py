import os
import sys
from pathlib import Path

import pytest

from worker.loading import NICENESS, load_aside


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux has a thread its own niceness")
def test_a_module_is_loaded_at_a_lower_priority_than_the_process_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loaded_aside.py").write_text(
        "import os, threading\n"
        "niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())\n"
    )
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert load_aside("loaded_aside").niceness == min(before + NICENESS, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_module_that_cannot_be_loaded_aside_raises_its_own_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        load_aside("no_such_module_anywhere")


def test_a_module_is_loaded_where_the_system_refuses_another_priority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_arguments: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse, raising=False)
    assert load_aside("json").__name__ == "json"
