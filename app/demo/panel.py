"""The demo's simulated labelers: one hidden taste, with slightly different habits."""

from app.demo import taste
from app.demo.plan import DemoPlan
from app.simulation.labelers import SimulatedLabeler


def make(plan: DemoPlan, taste_name: str, seed: int) -> list[SimulatedLabeler]:
    """Return the panel. The first labeler also prefers what is shown first."""
    utility = taste.named(taste_name).utility
    return [
        SimulatedLabeler(
            name=f"panel-{number}",
            utility=utility,
            flip_rate=plan.flip_rate,
            temperature=plan.temperature,
            tie_band=plan.tie_band,
            position_bias=0.3 if number == 1 else 0.0,
            seconds_per_judgment=6.0 + 2.0 * number,
            seed=seed,
        )
        for number in range(1, plan.labelers + 1)
    ]
