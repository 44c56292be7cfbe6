"""What pytest-benchmark measures in the machines comes home."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from spore._pytest import benchmark_data, frames

Run = Callable[..., pytest.RunResult]

_MESSAGE = {
    "type": "benchmark",
    "name": "test_a",
    "fullname": "test_it.py::test_a",
    "group": None,
    "param": None,
    "params": {"n": 1},
    "extra_info": {},
    "iterations": 2,
    "options": {"timer": "perf_counter"},
    "data": [0.1, 0.2],
    "has_error": False,
}


@pytest.mark.parametrize("name", [name for name in _MESSAGE if name != "type"])
def test_a_message_without_a_part_is_refused(pytestconfig: pytest.Config, name: str) -> None:
    message = {key: value for key, value in _MESSAGE.items() if key != name}
    with pytest.raises(frames.FrameError, match="a benchmark cannot be read"):
        benchmark_data.call(pytestconfig, message)


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"data": ["x"]},
        {"data": [1e400]},
        {"data": [float("nan")]},
        {"data": [0.1] * 1_000_001},
        {"iterations": 0},
        {"iterations": "many"},
        {"options": 7},
        {"extra_info": "text"},
    ],
    ids=lambda change: str(change)[:30],
)
def test_a_message_without_sense_is_refused(
    pytestconfig: pytest.Config, change: dict[str, Any]
) -> None:
    with pytest.raises(frames.FrameError, match="a benchmark"):
        benchmark_data.call(pytestconfig, {**_MESSAGE, **change})


def test_without_the_plugin_nothing_happens(pytester: pytest.Pytester) -> None:
    benchmark_data.call(pytester.parseconfig(), dict(_MESSAGE))()


def test_tables_and_files_have_all_benchmarks(pytester: pytest.Pytester, forked: Run) -> None:
    pytest.importorskip("pytest_benchmark")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.benchmark(group="sums")
        @pytest.mark.parametrize("n", [1, 2, 3])
        def test_sum(benchmark, n):
            benchmark.extra_info["n"] = n
            benchmark.pedantic(sum, args=([n],), rounds=5, iterations=2)

        def test_fails(benchmark):
            benchmark(lambda: 1 / 0)

        def test_none(): pass
        """
    )
    result = forked("--benchmark-json=out.json")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*benchmark 'sums': 3 tests*", "test_sum?1? *", "*OPS*"])
    written = json.loads((pytester.path / "out.json").read_text())
    by_name = {one["name"]: one for one in written["benchmarks"]}
    assert sorted(by_name) == ["test_sum[1]", "test_sum[2]", "test_sum[3]"]
    for n in (1, 2, 3):
        one = by_name[f"test_sum[{n}]"]
        assert (one["group"], one["params"], one["extra_info"]) == ("sums", {"n": n}, {"n": n})
        assert one["stats"]["rounds"] == len(one["stats"]["data"]) == 5
        assert one["stats"]["iterations"] == 2
