"""What the benchmarks write: whether a target holds is computed from the figures, and a round that was cut short holds none."""

from dataclasses import replace

import pytest

from tests.benchmarks import drain, latency, restarts, stored, targets, throughput
from tests.benchmarks.__main__ import PARTS, Report, options_of
from tests.benchmarks.running import Sample, Served

RUN = throughput.Run(per_second=20_000, cpu_us=60, store_us=5, peak_mb=100)
NAMES = (*throughput.PEERS, *throughput.SERVICES, throughput.NOT_STRICT)
THROUGH = throughput.Throughput(
    events=10_000,
    bytes_per_event=1_500,
    floor_us=5,
    runs=dict.fromkeys(NAMES, RUN),
    batches={(name, size): RUN for name in ("aiosfstream", "sqlite") for size in (100, 500, 2_000)},
)


def drained(slope_mb=0.0, peak_mb=120.0, *, finished=True, backlog=1_000_000):
    samples = [
        Sample(done, 100 + (done - backlog / 4) / 100_000 * slope_mb if done >= backlog / 4 else 80, 50)
        for done in range(0, backlog + 1, backlog // 100)
    ]
    figures = {"ended_ns": 1} if finished else None
    return drain.Drained("sqlite", backlog, Served(backlog, 100, 60, 0, peak_mb, (0, 0), figures, samples))


def held(made):
    return [one.held for one in made]


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        (RUN, [True, True, True, True, True]),
        (replace(RUN, per_second=19_000), [False, True, True, True, True]),
        (replace(RUN, cpu_us=61), [True, False, True, True, True]),
    ],
)
def test_throughput_holds_by_its_ratios(run, wanted):
    found = replace(THROUGH, runs=THROUGH.runs | {"sqlite": run})
    assert held(throughput.targets(found)) == wanted


def test_ordering_may_not_cost_throughput():
    found = replace(THROUGH, runs=THROUGH.runs | {throughput.NOT_STRICT: replace(RUN, per_second=30_000)})
    assert held(throughput.targets(found)) == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("strict", "p50", "p99", "wanted"),
    [
        (True, 1_000, 1_050, True),
        (True, 1_000, 1_051, False),
        (False, 5, 50, True),
        (False, 6, 40, False),
        (False, 4, 51, False),
    ],
)
def test_latency_holds_on_one_channel_at_two_hundred_a_second(strict, p50, p99, wanted):
    other = latency.Latency(2_000, 2, strict, 9_999, 9_999)
    assert held(latency.targets([latency.Latency(200, 1, strict, p50, p99), other])) == [wanted]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (drained(), [True, True]),
        (drained(peak_mb=151), [False, True]),
        (drained(slope_mb=0.6), [True, False]),
        (drained(slope_mb=-3), [True, True]),
        (drained(finished=False), [False, False]),
    ],
)
def test_a_drain_holds_when_it_was_finished_within_its_memory(found, wanted):
    assert held(drain.targets([found])) == wanted


def test_the_slope_of_memory_is_laid_after_the_first_quarter():
    assert drained(slope_mb=2.0).slope_mb == pytest.approx(2.0, abs=0.01)


def test_a_drain_that_did_not_warm_up_tells_no_slope():
    found = drained()
    short = replace(found, served=replace(found.served, samples=found.served.samples[:20], figures=None))
    assert short.slope_mb is None
    assert held(drain.targets([short])) == [False, False]
    assert "unknown" in drain.table([short])[-1]


@pytest.mark.parametrize(("cpu_us", "wanted"), [(120, True), (121, False)])
def test_much_that_is_stored_may_cost_a_fifth(cpu_us, wanted):
    found = [
        stored.Stored(0, 10, 100, 1, 1, 0),
        stored.Stored(150_000, 100, 500, 1, 1, 0),
        stored.Stored(1_500_000, 1_000, cpu_us, 1, 1, 0),
    ]
    assert held(stored.targets(found)) == [wanted]


def test_a_take_over_is_judged_by_the_longest():
    found = restarts.Restarts({}, {}, {}, {15.0: (14.0, 17.1), 2.0: (2.5, 4.0)}, 1.0, 50_000)
    assert held(restarts.targets(found)) == [False, True, True]


def test_the_section_says_what_does_not_hold():
    report = Report()
    report.add(throughput.table(THROUGH), [targets.Target("one", "at most 1", "2", held=False)])
    report.add(
        drain.table([drained(finished=False, backlog=1_000)]), [targets.Target("two", "2", "2", held=True)]
    )
    text = report.text(["on a machine"])
    assert "| one | at most 1 | 2 | **not held** |" in text
    assert "| two | 2 | 2 | held |" in text
    assert "stopped after 1,000" in text


def test_every_measurement_is_asked_for_by_default():
    assert tuple(options_of([]).only) == PARTS
    assert options_of(["--only", "drain,latency"]).only == ["drain", "latency"]


@pytest.mark.parametrize("arguments", [["--only", "speed"], ["--stored", "1500", "150"]])
def test_what_cannot_be_measured_is_refused(arguments):
    with pytest.raises(SystemExit):
        options_of(arguments)
