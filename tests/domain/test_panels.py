"""The short form of `tests.domain.panels`: few panels, with seeds at which nothing is rare."""

import pytest

from tests.domain import panel_figures, panel_remarks, panels
from tests.domain.simulated_panels import PanelPlan

PANELS = 24


@pytest.mark.parametrize("plan", [PanelPlan(150, 1), PanelPlan(30, 10)])
def test_intervals_of_labelers_pairs_and_groups_cover_with_shared_prompts_too(
    plan: PanelPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels, "TRUTH_PROMPTS", 4000)
    found = panels.coverage(panel_figures.picks, plan, PANELS)
    for name in ("labeler with others", "labeler's alpha", "pair of labelers", "group's alpha"):
        covered, total = found[name]
        # Intervals that ignore shared prompts cover 66 to 69 % at ten comparisons a prompt.
        assert covered / total >= 0.88, name


def test_a_contrary_and_a_place_biased_labeler_are_found_within_sixty_judgments() -> None:
    for kind in ("contrary", "place-biased"):
        found = [panel_remarks.flagged((kind, *["honest"] * 4), 1, seed) for seed in range(10)]
        assert sum(flags[0] for flags in found) >= 9, kind


def test_honest_labelers_hardly_ever_get_a_remark() -> None:
    flags = [panel_remarks.flagged(("honest",) * 5, 5, seed) for seed in range(10)]
    assert sum(map(sum, flags)) <= 2  # of 50
