"""The loop as an animated SVG: a dot goes from stage to stage, and each says what happens there.

The file has no script and nothing from elsewhere. It follows the reader's dark theme, and stands
still where reduced motion is preferred.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

STAGE_S: Final = 2.4  # seconds that the dot spends on a stage
WIDTH: Final = 960
HEIGHT: Final = 330
BOX: Final = (172, 64)


@dataclass(frozen=True, slots=True)
class Stage:
    """A box at its center, with what happens there."""

    name: str
    says: str
    x: int
    y: int


STAGES: Final = (
    Stage("Prompts", "Prompts arrive as files and are split once.", 120, 60),
    Stage("Responses", "The current model answers each prompt several times.", 360, 60),
    Stage("Judgments", "Labelers compare responses, one key per action.", 600, 60),
    Stage("Agreement", "Intervals say how far labelers agree.", 840, 60),
    Stage("Reward model", "A reward model learns what people prefer.", 840, 210),
    Stage("Policy", "A policy is trained against it with PPO.", 600, 210),
    Stage("Evaluation", "People compare new and old, blind: promote or hold.", 360, 210),
)
_STYLE = """
  svg { --ink: #1d2733; --fill: #f4f6f8; --line: #aab4bf; --dot: #1f66c1; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e8edf2; --fill: #1c242d; --line: #55616e; --dot: #6fb0ff; }
  }
  text { font: 600 17px system-ui, sans-serif; fill: var(--ink); text-anchor: middle; }
  .says { font-weight: 400; font-size: 18px; opacity: 0; }
  .box { fill: var(--fill); stroke: var(--line); stroke-width: 1.5; }
  .way { fill: none; stroke: var(--line); stroke-width: 2; }
  .tip { fill: var(--line); }
  .dot { fill: var(--dot); }
"""
_MOTION = """
  .dot { offset-path: path("%(path)s"); animation: go %(whole).1fs infinite; }
  .box { animation: light %(whole).1fs infinite; }
  .says:not(.still) { animation: say %(whole).1fs infinite; }
  @keyframes go { %(stops)s }
  @keyframes light {
    0%%, %(end).2f%% { stroke: var(--dot); stroke-width: 3.5; }
    %(gone).2f%%, 100%% { stroke: var(--line); stroke-width: 1.5; }
  }
  @keyframes say { 0%%, %(gone).2f%%, 100%% { opacity: 0; } 2%%, %(end).2f%% { opacity: 1; } }
  @media (prefers-reduced-motion: reduce) {
    .dot, .box, .says:not(.still) { animation: none; }
    .dot { display: none; } .still { opacity: 1; }
  }
"""
_STILL = "  .dot { display: none; } .still { opacity: 1; }\n"
_SUMMARY = "Round after round, from judgments to a better model."


def draw(*, is_moving: bool) -> str:
    """Return the picture; the still one is for readers who prefer reduced motion."""
    whole = STAGE_S * len(STAGES)
    style = _STYLE + (_motion(whole) if is_moving else _STILL)
    names = ", ".join(stage.name.lower() for stage in STAGES)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>The loop: {names}, and back to responses</title>",
        f"<style>{style}</style>",
        *(_arrow(a, b) for a, b in zip(STAGES, (*STAGES[1:], STAGES[1]), strict=True)),
        *(_box(stage, at, is_moving=is_moving) for at, stage in enumerate(STAGES)),
        f'<text class="says still" x="{WIDTH // 2}" y="305">{_SUMMARY}</text>',
        '<circle class="dot" r="8"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _motion(whole_s: float) -> str:
    share = 100 / len(STAGES)
    points = [f"{stage.x} {stage.y - BOX[1] // 2}" for stage in STAGES]
    lengths = [abs(a.x - b.x) + abs(a.y - b.y) for a, b in pairwise(STAGES)]
    gone = [sum(lengths[:at]) / sum(lengths) * 100 for at in range(len(STAGES))]
    stops = " ".join(
        f"{at * share:.2f}%, {(at + 0.75) * share:.2f}% {{ offset-distance: {distance:.2f}%; }}"
        for at, distance in enumerate(gone)
    )
    return _MOTION % {
        "path": "M " + " L ".join(points),
        "whole": whole_s,
        "stops": stops,
        "end": share * 0.8,
        "gone": share,
    }


def _box(stage: Stage, at: int, *, is_moving: bool) -> str:
    width, height = BOX
    delay = f' style="animation-delay: {at * STAGE_S:.1f}s"' if is_moving else ""
    return (
        f'<rect class="box"{delay} x="{stage.x - width // 2}" y="{stage.y - height // 2}" '
        f'width="{width}" height="{height}" rx="10"/>'
        f'<text x="{stage.x}" y="{stage.y + 6}">{stage.name}</text>'
        + (
            f'<text class="says"{delay} x="{WIDTH // 2}" y="305">{stage.says}</text>'
            if is_moving
            else ""
        )
    )


def _arrow(a: Stage, b: Stage) -> str:
    """Draw from the edge of one box to the edge of the next; boxes lie in rows and columns."""
    across, down = (b.x > a.x) - (b.x < a.x), (b.y > a.y) - (b.y < a.y)
    half = BOX[0] // 2 * across, BOX[1] // 2 * down
    x1, y1 = a.x + half[0], a.y + half[1]
    x2, y2 = b.x - half[0] - 9 * across, b.y - half[1] - 9 * down
    left, right = (x2 - 6 * down, y2 - 6 * across), (x2 + 6 * down, y2 + 6 * across)
    tip = f"{left[0]},{left[1]} {right[0]},{right[1]} {x2 + 9 * across},{y2 + 9 * down}"
    return f'<path class="way" d="M {x1} {y1} L {x2} {y2}"/><polygon class="tip" points="{tip}"/>'
