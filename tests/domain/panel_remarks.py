"""How often labelers of simulated panels get a remark without any gold."""

from collections.abc import Iterator

import numpy as np

from app.domain import jackknife, labeler_standing
from app.services.quality import labeler_remarks
from app.services.quality.labeler_remarks import Evidence, Trials
from tests.domain.simulated_panels import Panel, PanelPlan, simulate

JUDGMENTS = 60  # of each labeler
TEAMS = (3, 5, 10)
NO_TRIALS = Trials.of((), "no gold and no repeats")


def flagged(kinds: tuple[str, ...], per_prompt: int, seed: int) -> list[bool]:
    """Return which labelers of a panel get a remark after about sixty judgments each."""
    overlaps = (2, 3)
    comparisons = round(JUDGMENTS * len(kinds) / np.mean(overlaps))
    plan = PanelPlan(-(-comparisons // per_prompt), per_prompt, kinds, overlaps)
    panel = simulate(plan, seed)
    standings = labeler_standing.standings(panel.table)
    return [
        bool(labeler_remarks.of(_evidence(panel, at, standing)))
        for at, standing in enumerate(standings)
    ]


def lines(panels: int) -> Iterator[str]:
    """Yield how often honest, contrary and place-biased labelers get a remark."""
    for per_prompt in (1, 5, 10):
        for team in TEAMS:
            honest = np.mean(
                [flagged(("honest",) * team, per_prompt, seed) for seed in range(panels)]
            )
            found = {
                kind: np.array(
                    [
                        flagged((kind, *("honest",) * (team - 1)), per_prompt, seed)
                        for seed in range(panels)
                    ]
                )
                for kind in ("contrary", "place-biased")
            }
            yield (
                f"remarks, team of {team}, {per_prompt} a prompt: honest {100 * honest:.1f} %; "
                + "; ".join(
                    f"{kind} {100 * flags[:, 0].mean():.1f} % "
                    f"(honest beside them {100 * flags[:, 1:].mean():.1f} %)"
                    for kind, flags in found.items()
                )
            )


def _evidence(panel: Panel, labeler: int, standing: labeler_standing.LabelerStanding) -> Evidence:
    table = panel.table
    own = table.labeler == labeler
    prompts = table.cluster[table.entry_owner[own]]
    others = ~own
    longer_by_others = jackknife.share(
        panel.chose_longer[others].astype(float), table.cluster[table.entry_owner[others]]
    )
    return Evidence(
        judgments=int(own.sum()),
        labelers=len(table.labelers),
        first_place=Trials(panel.chose_first[own], prompts, ""),
        first_place_expected=0.5,
        gold=NO_TRIALS,
        same_again=NO_TRIALS,
        longer=Trials(panel.chose_longer[own], prompts, ""),
        longer_by_others=longer_by_others,
        standing=standing,
        is_contrary=False,
    )
