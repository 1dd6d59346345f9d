"""The demo is the proof in one command: bad weather in, every run's events in commit order out."""

import json
import re

import pytest

from tests.support.builders.readme import README
from tests.support.processes.service_process import ServiceProcess


def without_figures(line):
    return re.sub(r"[\d.]+", "N", line).replace("sessions", "session")


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
async def test_200_events_of_bad_weather_come_out_once_and_in_commit_order(tmp_path, seed):
    async with ServiceProcess(
        {}, tmp_path, "demo", "--exit-after", "200", "--json", "--seed", str(seed)
    ) as demo:
        assert await demo.ended(within_s=60) == 0, demo.errors()
    events = [json.loads(line) for line in demo.out.read_bytes().splitlines()]
    assert len(events) == 200
    assert len({event["id"] for event in events}) == 200
    last: dict[str, tuple[int, int]] = {}
    for event in events:
        key = (event["transaction"]["commit_number"], event["transaction"]["sequence_number"])
        assert key >= last.get(event["tracker_id"], key), f"{event['id']} is out of order"
        last[event["tracker_id"]] = key
    summary = re.search(
        r"(\d+) reordered, (\d+) duplicated, (\d+) redelivered, (\d+) dropped session", demo.errors()
    )
    assert summary is not None, demo.errors()
    shown = re.findall(r"^(?:in|out): +.*$", README.read_text(), re.MULTILINE)
    printed = re.findall(r"^(?:in|out): +.*$", demo.errors(), re.MULTILINE)
    assert [without_figures(line) for line in shown] == [without_figures(line) for line in printed]
    assert all(int(count) > 0 for count in summary.groups()), summary[0]


async def test_without_json_each_event_is_a_readable_line(tmp_path):
    async with ServiceProcess({}, tmp_path, "demo", "--exit-after", "20", "--rate", "200") as demo:
        assert await demo.ended(within_s=60) == 0, demo.errors()
    lines = demo.out.read_text().splitlines()
    assert len(lines) == 20
    assert re.match(r"\d\d:\d\d:\d\d  run\.enrolled +0qB\w{15}", lines[0])
