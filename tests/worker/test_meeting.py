"""Hosts tell one another of an attempt through files."""

import socket
from pathlib import Path

from worker import meeting


def test_a_host_joins_an_attempt_once_and_is_missed_when_it_leaves(tmp_path: Path) -> None:
    assert meeting.current(tmp_path) == ""
    meeting.begin(tmp_path, "job-3-1")
    assert meeting.current(tmp_path) == "job-3-1"
    assert meeting.join(tmp_path, "job-3-1")
    assert not meeting.join(tmp_path, "job-3-1"), "it was lost, and is back"
    assert meeting.lost(tmp_path, "job-3-1") == ""
    meeting.leave(tmp_path, "job-3-1")
    assert meeting.lost(tmp_path, "job-3-1") == socket.gethostname()
    assert meeting.lost(tmp_path, "job-3-2") == ""
    meeting.begin(tmp_path, "job-3-2")
    assert meeting.join(tmp_path, "job-3-2")
    assert meeting.lost(tmp_path, "job-3-1") == ""
    meeting.end(tmp_path)
    assert meeting.current(tmp_path) == ""
