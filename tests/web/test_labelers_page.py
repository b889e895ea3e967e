"""Labelers: what others do is said once if it is nearly the same for everybody."""

from dataclasses import replace

import pytest

from app.domain.measures import Interval, Measure
from app.domain.page_verdicts.verdict import Insight, Tone
from app.models import Membership
from app.services.quality.labeler_quality import Quality
from app.web.pages.labelers import LabelersPage, MemberRow
from app.web.verdict_words import VerdictWords

VERDICT = VerdictWords(Insight.STEP, Tone.EARLY, "", "")
NONE = Measure.missing("no votes")
QUALITY = Quality(
    1, "L1", 20, NONE, NONE, NONE, None, NONE, NONE, NONE, NONE, None, NONE, remarks=()
)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((), ""),
        ((0.494, 0.486), "49"),
        ((0.496, 0.487), "49–50"),
        ((0.51, 0.487), ""),
    ],
)
def test_what_others_chose_is_said_once_if_rows_differ_by_a_point(
    shares: tuple[float, ...], said: str
) -> None:
    measures = [NONE, *(Measure(share, Interval(0.4, 0.6), 90) for share in shares)]
    rows = [
        MemberRow(Membership(), replace(QUALITY, longer_by_others=measure), None)
        for measure in measures
    ]
    page = LabelersPage(VERDICT, [*rows, MemberRow(Membership(), None, None)])
    assert page.longer_by_others == said
