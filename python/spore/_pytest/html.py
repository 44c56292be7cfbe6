"""--spore-html: the run as one page that needs nothing else.

Node ids, reports and consoles come from the guest: everything is escaped where it is put, in HTML
and in the script's data alike, control characters are made visible, and the page forbids itself
any script but its own and any connection.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spore._pytest import summary
from spore._pytest.timeline import FAILURES, OUTCOMES, MachineRun, TestRun, Timeline, bounded

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from spore._pytest.fleet import Fleet
    from spore._pytest.summary import Story

_MOST_RUNS = 50_000  # rows of tests; failures come first
_MOST_FAILURES = 1_000  # with their texts
_MOST_MACHINES = 256  # in the tree and in the time line
_MOST_NAME = 1_000  # characters of a node id
_MOST_EVENTS = 20_000  # resets, in the time line

_STATUS = {
    pytest.ExitCode.OK: "passed",
    pytest.ExitCode.TESTS_FAILED: "failed",
    pytest.ExitCode.INTERRUPTED: "interrupted",
    pytest.ExitCode.INTERNAL_ERROR: "internal error",
    pytest.ExitCode.USAGE_ERROR: "usage error",
    pytest.ExitCode.NO_TESTS_COLLECTED: "no tests",
}
_COLORS = re.compile(r"\x1b\[[0-9;:]*m")
# A terminal's language, and what changes the order in which text is read.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Page:
    """Writes the page when the session ends, however it ends."""

    def __init__(self, config: pytest.Config, path: Path, story: Story, fleet: Fleet) -> None:
        self._config = config
        self._path = path
        self._story = story
        self._fleet = fleet
        self._failure = ""

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._story.timeline.close()
        try:
            write_whole(self._path, page(self._story, self._fleet, exitstatus))
        except OSError as error:
            self._failure = f"--spore-html: {self._path} was not written: {error.strerror}"
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        if self._failure:
            terminalreporter.write_line(self._failure, red=True)
        elif self._config.get_verbosity() >= 0:
            terminalreporter.write_line(f"page:    {os.path.relpath(self._path)}")


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is at no time seen in part."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".spore-", delete=False) as file:
        try:
            file.write(text.encode("utf-8", "replace"))
            file.flush()
            umask = os.umask(0o022)
            os.umask(umask)
            os.chmod(file.name, 0o666 & ~umask)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def page(story: Story, fleet: Fleet, exitstatus: int) -> str:
    """The whole page."""
    timeline = story.timeline
    template = resources.files("spore._pytest").joinpath("page.html").read_text("utf-8")
    runs = sorted(timeline.runs, key=lambda run: (run.outcome not in FAILURES, run.began))
    shown = runs[:_MOST_RUNS]
    failed = [run for run in shown if run.texts][:_MOST_FAILURES]
    status = _STATUS.get(exitstatus, f"status {exitstatus}")  # type: ignore[call-overload]
    parts = {
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src {_hashes(template)}",
        "status": escape(status),
        "class": "good" if exitstatus == pytest.ExitCode.OK else "bad",
        "when": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(timeline.began)),
        "numbers": "".join(_numbers(story, fleet)),
        "facts": "".join(_facts(story, fleet)),
        "tree": "".join(_tree(story, fleet)),
        "failures": "".join(_failures(failed, timeline)),
        "notes": "".join(f"<p>{escape(note)}</p>" for note in _notes(timeline, runs, shown)),
        "data": _in_script(_data(timeline, shown, failed)),
    }
    # In one pass: what is put in is not looked at again.
    return re.sub(r"@@(\w+)@@", lambda match: parts[match[1]], template)


def escape(text: object) -> str:
    """Text for an element or an attribute."""
    return html.escape(visible(str(text)))


def visible(text: str) -> str:
    """`text` without a terminal's colours; other control characters become signs."""
    return _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", _COLORS.sub("", text).replace("\r\n", "\n"))


def _hashes(template: str) -> str:
    """What the policy calls the page's own script."""
    (script,) = re.findall(r"<script>(.*?)</script>", template, re.DOTALL)
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _in_script(value: object) -> str:
    """JSON that a script element can hold: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(timeline: Timeline, runs: list[TestRun], failed: list[TestRun]) -> dict[str, Any]:
    """What the script draws; times in milliseconds."""
    numbers = {id(run): number for number, run in enumerate(failed)}
    resets = _MOST_EVENTS
    machines = []
    for machine in timeline.machines[:_MOST_MACHINES]:
        shown, resets = machine.resets[:resets], max(0, resets - len(machine.resets))
        machines.append(
            [
                _ms(machine.forked),
                _ms(machine.ended if machine.ended is not None else timeline.now()),
                [_ms(at) for at in shown],
                [[_ms(at), visible(reason)] for at, reason in machine.crashes],
                [[_ms(at), _name(test)] for at, test, _ in machine.kept],
            ]
        )
    return {
        "outcomes": OUTCOMES,
        "phases": [[one.name, _ms(one.began), _ms(one.seconds)] for one in timeline.phases],
        "machines": machines,
        "runs": [
            [
                _run_name(run, timeline),
                OUTCOMES.index(run.outcome),
                run.machine,
                _ms(run.began),
                _ms(run.ended),
                _ms(run.seconds),
                numbers.get(id(run), -1),
            ]
            for run in runs
        ],
    }


def _numbers(story: Story, fleet: Fleet) -> Iterator[str]:
    timeline = story.timeline
    outcomes = Counter(run.outcome for run in timeline.runs)
    ran = len(timeline.runs) - outcomes["unfinished"]
    yield _number(f"{ran:,}", _plural(ran, "test") + " ran")
    for outcome in OUTCOMES:
        if outcomes[outcome]:
            yield _number(f"{outcomes[outcome]:,}", outcome, outcome)
    missing = timeline.expected - len(timeline.runs)
    if missing > 0:
        yield _number(f"{missing:,}", "not run")
    yield _number(f"{len(timeline.machines):,}", _plural(len(timeline.machines), "fork"))
    if fleet.resets:
        yield _number(f"{fleet.resets:,}", _plural(fleet.resets, "reset"))
    yield _number(f"{story.collecting + story.first.seconds:.2f} s", "prepared, once")
    yield _number(f"{story.running:.2f} s", "of tests")


def _number(value: str, label: str, outcome: str = "") -> str:
    mark = f" data-outcome={outcome}" if outcome else ""
    return f"<div{mark}><dd>{escape(value)}</dd><dt>{escape(label)}</dt></div>"


def _facts(story: Story, fleet: Fleet) -> Iterator[str]:
    """What the terminal says."""
    for line in summary.lines(story, fleet) if fleet.engine else ():
        name, _, text = line.partition(":")
        yield f"<tr><th scope=row>{escape(name)}</th><td>{escape(text.strip())}</td></tr>"


def _tree(story: Story, fleet: Fleet) -> Iterator[str]:
    timeline = story.timeline
    if not fleet.engine:
        yield "<p>No machine was booted.</p>"
        return
    took = {phase.name: phase.seconds for phase in timeline.phases}
    steps = [f"booted in {took.get('boot', 0.0):.2f} s ({fleet.engine})"]
    if "collection" in took:
        steps.append(f"collected in {took['collection']:.2f} s")
    yield f"<ul class=tree><li><b>machine</b> <span>{escape(', '.join(steps))}</span>"
    yield from _captures(story, None)
    yield "</li></ul>"


def _captures(story: Story, parent: int | None) -> Iterator[str]:
    """The machines captured in forks of `parent`, and what was forked from each."""
    timeline = story.timeline
    for number, capture in enumerate(timeline.captures):
        if capture.parent != parent:
            continue
        what = f"captured after {capture.at:.2f} s"
        if number == 0:
            names = ", ".join(story.first.fixtures) or "none"
            what += (
                f"; session fixtures in {story.first.seconds:.2f} s: {bounded(names, _MOST_NAME)}"
            )
        yield f"<ul><li class=spore><b>{escape(bounded(capture.label, _MOST_NAME))}</b>"
        yield f" <span>{escape(what)}</span>"
        yield from _captures(story, number)
        yield from _machines(timeline, number)
        yield "</li></ul>"


def _machines(timeline: Timeline, capture: int) -> Iterator[str]:
    machines = [
        (number, machine)
        for number, machine in enumerate(timeline.machines)
        if machine.capture == capture
    ]
    yield "<ul>"
    for number, machine in machines[:_MOST_MACHINES]:
        yield f"<li><b>child {number}</b> <span>{escape(_story_of(machine))}</span>"
        events = [f"<li class=bad>crashed: {escape(reason)}</li>" for _, reason in machine.crashes]
        events += [
            f"<li>kept {escape(_name(test))}: <code>spore run --from"
            f" {escape(os.path.relpath(path))} -- sh</code></li>"
            for _, test, path in machine.kept
        ]
        yield f"<ul>{''.join(events)}</ul></li>" if events else "</li>"
    if len(machines) > _MOST_MACHINES:
        yield f"<li>and {len(machines) - _MOST_MACHINES:,} more</li>"
    yield "</ul>"


def _story_of(machine: MachineRun) -> str:
    parts = [f"forked after {machine.forked:.2f} s"]
    parts.append(f"{machine.tests:,} {_plural(machine.tests, 'test')}")
    if machine.failures:
        parts.append(f"{machine.failures:,} failed")
    if machine.resets:
        parts.append(f"{len(machine.resets):,} {_plural(len(machine.resets), 'reset')}")
    if machine.private_bytes is not None:
        parts.append(f"{summary.size(machine.private_bytes)} of its own")
    return ", ".join(parts)


def _failures(failed: list[TestRun], timeline: Timeline) -> Iterator[str]:
    for number, run in enumerate(failed):
        opened = " open" if number < 10 else ""
        yield (
            f"<details id=failure-{number}{opened}><summary><i data-outcome={run.outcome}>"
            f"{run.outcome}</i> <code>{escape(_run_name(run, timeline))}</code>"
            f" <span>child {run.machine}</span></summary>"
        )
        for title, text in run.texts:
            yield f"<h3>{escape(title)}</h3><pre>{escape(text)}</pre>"
        yield "</details>"
    if not failed:
        yield "<p>None.</p>"


def _notes(timeline: Timeline, runs: list[TestRun], shown: list[TestRun]) -> Iterator[str]:
    if len(runs) > len(shown):
        yield f"{len(runs) - len(shown):,} of the runs of tests are left out: they are too many."
    failures = sum(bool(run.texts) for run in runs)
    if failures > _MOST_FAILURES:
        yield f"Only the first {_MOST_FAILURES:,} failures have their texts here."
    if len(timeline.machines) > _MOST_MACHINES:
        yield f"The time line shows the first {_MOST_MACHINES} children."
    if any(run.outcome == "unfinished" for run in runs) or len(runs) < timeline.expected:
        yield (
            "The run ended early. Tests that ran ahead of the last one that pytest tells are shown"
            " here, and not counted there."
        )


def _run_name(run: TestRun, timeline: Timeline) -> str:
    again = f" (run {run.repetition + 1})" if timeline.repetitions > 1 else ""
    return _name(run.test) + again


def _name(test: str) -> str:
    return visible(bounded(test, _MOST_NAME))


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
