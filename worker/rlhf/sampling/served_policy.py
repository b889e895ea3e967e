"""A policy that is trained here and sampled by a server: its adapter is published as it changes.

Each version is a folder of its own under a name of its own, so that neither an older attempt that
still runs nor the server's cache of prompts can mix two versions. A server that is lost is waited
for, and one that comes back without the adapter gets it again; the completions that were there
already are kept. What is said meanwhile, and whether to go on, is decided by whoever runs the loop.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.core.training_state import Json
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.rlhf.sampling.server import ServerUnavailable
from worker.rlhf.sampling.token_server import (
    AdapterFailed,
    AdapterMissing,
    TokenServer,
    UnusableServer,
)

STATE: Final = "served_policy"  # where a training state keeps which version was sampled
FAILED_LOADS_MOST: Final = 3
LOOK_S: Final = 0.5  # between two looks at whether to go on, while the server computes
LONGEST_PAUSE_S: Final = 30.0

Drawn = list[SampledCompletion]
Source = Callable[[Sequence[PromptItem], SamplingConfig], Drawn | None]
"""Returns the completions of each prompt in order, or None if it has to be asked again."""


class Host(Protocol):
    """Whoever runs the loop: hears of the server, and may end the run while it waits."""

    def go_on(self) -> None:
        """Return while the server computes, or raise if the run is to end at once."""

    def wait(self, seconds: float, away_s: float, reason: str) -> None:
        """Wait for a lost server that has been away for some time, or raise to end the run."""

    def say(self, text: str) -> None:
        """Say a sentence to people."""

    def warn(self, text: str) -> None:
        """Say a sentence to people now, and beside the result."""


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """Where versions are published, and how long they are used.

    `folder` is that of the run, which the server sees under the same path; `attempt` names this
    attempt in it, and `name` all that the attempt publishes. A version is used for `every` steps.
    The run waits `patience_s` for a lost server, and warns if the server's log-probabilities are
    more than `deviation_most` nats per token from its own on average.
    """

    folder: Path
    attempt: str
    name: str
    every: int = 1
    patience_s: float = 3600.0
    deviation_most: float = 0.1

    def __post_init__(self) -> None:
        """Refuse settings that publish nothing.

        Raises:
            ValueError: naming the setting, the rule and the value.
        """
        if self.every < 1:
            raise ValueError(f"a version must be used for at least 1 step, got {self.every}")
        if self.patience_s < 0.0:
            raise ValueError(f"patience_s must not be negative, got {self.patience_s}")

    @property
    def kept(self) -> int:
        """Versions whose folders are kept: a run that resumes may go on with an earlier one."""
        return 1 if self.every == 1 else 4


@dataclass(slots=True)
class Version:
    """A version of the policy: the step after which it was saved, its folder and its name."""

    step: int
    folder: Path
    name: str
    is_loaded: bool = False


@dataclass(slots=True)
class _Batch:
    """What is being sampled, and what is there of it."""

    step: int
    config: SamplingConfig
    prompts: tuple[PromptItem, ...]
    completions: dict[tuple[str, int], SampledCompletion]

    @property
    def wanted(self) -> Iterator[tuple[PromptItem, int]]:
        """Each prompt with the index of each of its completions, in order."""
        return ((prompt, n) for prompt in self.prompts for n in range(self.config.n))

    @property
    def missing(self) -> Iterator[tuple[PromptItem, int]]:
        """Those that are wanted and not there yet, as of now."""
        return iter([one for one in self.wanted if (one[0].key, one[1]) not in self.completions])


class ServedPolicy:
    """Publishes the versions of a policy, and samples them.

    Args:
        server: samples and takes adapters.
        config: of publishing.
        save: writes the policy's adapter as it is into a folder; None: the base has none.
        state: the values of the training state, which a run that resumes reads again.
        host: runs the loop.
    """

    def __init__(
        self,
        server: TokenServer,
        config: PublishConfig,
        save: Callable[[Path], object] | None,
        state: MutableMapping[str, Json],
        host: Host,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server, self.config, self.host = server, config, host
        self._save, self._state, self._clock = save, state, clock
        self._version: Version | None = None
        self._older: list[Version] = []
        self._batch: _Batch | None = None
        self._has_begun = False
        self._away_since: float | None = None
        self._setbacks = 0  # pauses in a row
        self._reloads = 0  # in a row, without a completion in between
        self._failed_loads = 0
        self._has_warned = False
        self._seconds = {"publish": 0.0, "wait": 0.0}

    def at(self, step: int, *, is_exact: bool = False) -> Source:
        """Return what samples the policy as it is after a step.

        `is_exact` refuses an older version, as evaluations do.
        """

        def source(prompts: Sequence[PromptItem], config: SamplingConfig) -> Drawn | None:
            return self._draw(step, is_exact, prompts, config)

        return source

    def hear(self, step: int, deviation: float) -> None:
        """Warn once if the server's log-probabilities are too far from those of training."""
        if deviation <= self.config.deviation_most or self._has_warned:
            return
        self._has_warned = True
        self.host.warn(
            f"The sampling server's log-probabilities were {deviation:.3g} nats per token from "
            f"those of training at step {step + 1}, above the bound of "
            f"{self.config.deviation_most:g}: does it serve the same base model, in the same "
            "precision, and return log-probabilities at the sampling temperature?"
        )

    def metrics(self, step: int) -> dict[str, float]:
        """Return the age of the version that was sampled, and the seconds since the last call."""
        age = 0 if self._version is None else step - self._version.step
        seconds = {f"time/{name}_s": value for name, value in self._seconds.items()}
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        return {"sampler/age_steps": float(age), **seconds}

    def close(self, *, is_over: bool) -> None:
        """Unload what was published; if the run is over, remove its folders too."""
        for version in [*self._older, *([self._version] if self._version else [])]:
            if version.is_loaded and self._save is not None:
                self.server.unload(version.name)
        self.server.close()
        if is_over:
            shutil.rmtree(self.config.folder, ignore_errors=True)

    def _draw(
        self, step: int, is_exact: bool, prompts: Sequence[PromptItem], config: SamplingConfig
    ) -> Drawn | None:
        batch = self._batch
        if batch is None or (batch.step, batch.config, batch.prompts) != (
            step,
            config,
            tuple(prompts),
        ):
            batch = self._batch = _Batch(step, config, tuple(prompts), {})
        try:
            self._sample(self._current(step, is_exact), batch)
        except ServerUnavailable as error:
            self._pause(str(error))
            return None
        except AdapterMissing as error:
            self._forgotten(error)
            return None
        self._batch = None
        return [batch.completions[prompt.key, index] for prompt, index in batch.wanted]

    # Publishing

    def _current(self, step: int, is_exact: bool) -> Version:
        """Return a version that is loaded and young enough; publish one if there is none."""
        with self._timed("publish"):
            if not self._has_begun:
                self._begin(step)
            most = 0 if is_exact else self.config.every - 1
            if self._version is None or step - self._version.step > most:
                self._publish(step)
            assert self._version is not None
            if not self._version.is_loaded:
                if self._save is not None:
                    self._load(self._version)
                self._version.is_loaded = True
                self._forget()
            return self._version

    def _begin(self, step: int) -> None:
        """Unload what earlier attempts of the run left, and take up the version they sampled."""
        own = f"{self.config.folder}{os.sep}"
        for served in self.server.models():
            if served.root.startswith(own):
                self.server.unload(served.name)
        self._has_begun = True
        known = self._state.get(STATE)
        if not isinstance(known, dict):
            return
        earlier, folder = known.get("step"), Path(str(known.get("folder")))
        if not isinstance(earlier, int) or not 0 < step - earlier < self.config.every:
            return  # the weights here are those of the version, or it is too old
        if folder.is_dir():
            self._version = Version(earlier, folder, self._name(earlier))
        else:
            self.host.say(
                f"The adapter of step {earlier} is no longer in {folder}; sampling goes on with "
                f"that of step {step}."
            )

    def _publish(self, step: int) -> None:
        """Save the policy as a new version; the name of a version is never used again."""
        if self._save is None:
            self._version = Version(step, Path(), self.server.config.model, is_loaded=True)
            return
        folder = self.config.folder / self.config.attempt / f"step-{step}"
        if not folder.is_dir():
            aside = folder.with_name(f".{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            self._save(aside)
            aside.rename(folder)
        if self._version is not None:
            self._older.append(self._version)
        self._version = Version(step, folder, self._name(step))
        self._state[STATE] = {"step": step, "folder": str(folder)}

    def _name(self, step: int) -> str:
        return f"{self.config.name}-step-{step}"

    def _load(self, version: Version) -> None:
        """Load a version, unless it is there: its confirmation may have been lost.

        Raises:
            UnusableServer: the server knows another adapter by that name.
        """
        roots = {served.name: served.root for served in self.server.models()}
        if version.name in roots:
            if roots[version.name] != str(version.folder):
                raise UnusableServer(
                    f"{self.server.config.url} already has an adapter {version.name!r}, from "
                    f"{roots[version.name] or 'an unknown folder'}"
                )
        else:
            try:
                self.server.load(version.name, version.folder)
            except AdapterFailed as error:
                self._failed_loads += 1
                if self._failed_loads >= FAILED_LOADS_MOST:
                    raise UnusableServer(str(error)) from error
                raise ServerUnavailable(str(error)) from error
        self._failed_loads = 0

    def _forget(self) -> None:
        """Unload older versions, and remove the folders that no run will resume from."""
        for version in self._older:
            if version.is_loaded:
                self.server.unload(version.name)
                version.is_loaded = False
        while len(self._older) >= self.config.kept:
            shutil.rmtree(self._older.pop(0).folder, ignore_errors=True)

    # Sampling

    def _sample(self, version: Version, batch: _Batch) -> None:
        """Request what is missing of a batch, some at the same time; keep what comes."""
        missing, count = batch.missing, self.server.config.concurrency
        running: set[Future[SampledCompletion]] = set()
        failure: BaseException | None = None
        while True:
            while failure is None and len(running) < count:
                prompt, index = next(missing, (None, 0))
                if prompt is None:
                    break
                ask = partial(self.server.complete, version.name, prompt, index, batch.config)
                running.add(_started(ask))
            if not running:
                break
            done, running = wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                failure = self._keep(batch, future) or failure
            self.host.go_on()
        if failure is not None:
            raise failure

    def _keep(self, batch: _Batch, future: Future[SampledCompletion]) -> BaseException | None:
        """Keep the completion that came, or return why there is none.

        Raises:
            UnusableServer: it refused the request, or its response cannot be learned from.
        """
        error = future.exception()
        if isinstance(error, ServerUnavailable | AdapterMissing):
            return error  # what else is under way may come nevertheless
        completion = future.result()
        batch.completions[completion.prompt_key, completion.sample_index] = completion
        self._away_since, self._setbacks, self._reloads = None, 0, 0
        return None

    # Waiting

    def _forgotten(self, error: AdapterMissing) -> None:
        """Publish again what the server does not know any more; wait if that is of no use."""
        for version in [*self._older, *([self._version] if self._version else [])]:
            version.is_loaded = False
        self._reloads += 1
        if self._reloads > 1:
            self._pause(str(error))
        else:
            self.host.say(f"The sampling server lost the adapter; it is loaded again. ({error})")

    def _pause(self, reason: str) -> None:
        """Wait, the longer the more often in a row.

        Raises:
            ServerUnavailable: the server has been away for longer than the patience.
        """
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
        away_s = now - self._away_since
        if away_s >= self.config.patience_s:
            raise ServerUnavailable(
                f"the sampling server {self.server.config.url} has been away for {away_s:.0f} s, "
                f"longer than the patience of {self.config.patience_s:.0f} s; last error: {reason}"
            )
        pause_s = min(2.0**self._setbacks, LONGEST_PAUSE_S, self.config.patience_s - away_s)
        self._setbacks += 1
        with self._timed("wait"):
            self.host.wait(pause_s, away_s, reason)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = self._clock()
        try:
            yield
        finally:
            self._seconds[name] += self._clock() - began


def _started(act: Callable[[], SampledCompletion]) -> Future[SampledCompletion]:
    """Run a request in a thread of its own, which a process that ends does not wait for."""
    future: Future[SampledCompletion] = Future()

    def run() -> None:
        try:
            future.set_result(act())
        except BaseException as error:  # noqa: BLE001 - raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, name="sampling-server", daemon=True).start()
    return future
