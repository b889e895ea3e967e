"""How long from Enter to the next comparison on screen, in Chromium against a real server.

Not a test: figures depend on the machine. Run it with

    python -m tests.browser.bench_page [--submits 100]

The time runs from the key press until the frame that shows the next comparison has been painted.
The target is a 95th percentile under 100 ms.
"""

import argparse
import gzip
import random
import tempfile
from pathlib import Path
from statistics import quantiles

from app.db import Database, schema
from app.main import create_app
from app.models import Comparison, Completion, Project
from app.settings import Settings
from app.web.render import STATIC
from tests.browser.desk import Desk, House, chromium, sit_down
from tests.live import serve

WORDS = "the answer of a library to what readers ask every day and **why** so"
WATCH = """() => {
  window.times = [];
  let pressed = 0;
  const shown = () => document.querySelector("#work .prompt")?.dataset.key;
  let before = shown();
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter") pressed = event.timeStamp;
  }, true);
  new MutationObserver(() => {
    if (!pressed || shown() === before) return;
    before = shown();
    const from = pressed;
    pressed = 0;
    requestAnimationFrame(() => {
      const after = new MessageChannel();
      after.port1.onmessage = () => window.times.push(performance.now() - from);
      after.port2.postMessage(null);
    });
  }).observe(document.getElementById("work"), { childList: true, subtree: true });
}"""


def measure(desk: Desk, kind: str, submits: int, keys: str) -> list[float]:
    """Judge by key and return the milliseconds from each Enter to the next one painted."""
    desk.furnish(kind, comparisons=submits + 4)
    _lengthen(desk, kind)
    desk.open(kind)
    page = desk.page
    page.wait_for_load_state("networkidle")
    page.evaluate(WATCH)
    for number in range(submits):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.wait_for_function("(count) => window.times.length > count", arg=number)
    return [float(one) for one in page.evaluate("window.times")]


def _lengthen(desk: Desk, kind: str) -> None:
    """Give every answer some 250 words, as models' answers have."""
    draw = random.Random(1)
    with desk.database.transaction() as session:
        project = session.query(Project).filter_by(slug=desk.slug(kind)).one()
        for comparison in session.query(Comparison).filter_by(project_id=project.id):
            for one in session.query(Completion).filter_by(prompt_id=comparison.prompt_id):
                lines = [" ".join(draw.choices(WORDS.split(), k=25)) for _ in range(10)]
                one.text = "\n\n".join(lines)


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--submits", type=int, default=100)
    submits = options.parse_args().submits
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        url = f"sqlite:///{folder}/attune.sqlite3"
        database = Database(url)
        schema.upgrade(database.engine)
        settings = Settings(data_dir=Path(folder), database_url=url, secret_key="s" * 40)
        with serve(create_app(settings, database)) as address:
            for kind, keys in (("pick", "1"), ("rank", "2143"), ("rate", "4354"), ("thumbs", "14")):
                with sit_down(House(browser, address, database)) as desk:
                    times = measure(desk, kind, submits, keys)
                cuts = quantiles(times, n=100)
                print(  # noqa: T201 - a command
                    f"{kind:8} {len(times)} submits: p50 {cuts[49]:.0f} ms, p95 {cuts[94]:.0f} ms, "
                    f"most {max(times):.0f} ms"
                )
    print(f"scripts and styles, compressed: {weight() / 1000:.1f} kB")  # noqa: T201 - a command


def weight() -> int:
    """Return the bytes of the labeling page's scripts and styles as they are sent compressed."""
    names = ("tokens.css", "base.css", "frame.css", "text.css", "base.js", "times.js")
    files = [STATIC / "base" / name for name in names]
    for folder in ("label", "practice"):
        files += [*(STATIC / folder).glob("*.js"), *(STATIC / folder).glob("*.css")]
    return sum(len(gzip.compress(file.read_bytes())) for file in files)


if __name__ == "__main__":
    main()
