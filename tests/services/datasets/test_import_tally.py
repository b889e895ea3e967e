"""What an import reports stays bounded, and says so."""

from app.services.datasets.import_tally import MORE_REMARKS, REMARKS_KEPT, ImportTally


def test_remarks_are_kept_once_and_say_when_there_are_more() -> None:
    tally = ImportTally()
    for number in (*range(REMARKS_KEPT), *range(REMARKS_KEPT)):
        tally.remark(f"remark {number}")
    assert len(tally.remarks) == REMARKS_KEPT
    for number in range(REMARKS_KEPT + 2):
        tally.remark(f"other {number}")
    assert tally.remarks[REMARKS_KEPT:] == [MORE_REMARKS]
