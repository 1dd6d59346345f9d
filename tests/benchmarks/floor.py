"""What it costs to parse an event's bytes and do nothing else: ``python -m tests.benchmarks.floor '{"events": 20000, "batch": 500}'``.

orjson over the poll answers of the stream, in a process of its own, whose memory is as tidy as that of the subjects. Prints the processor
time for each event, in microseconds.
"""

import json
import sys
import time
from itertools import islice

import orjson

from tests.benchmarks import stream


def floor_us(events: int, batch: int) -> float:
    """Microseconds for each event."""
    block = stream.record(time.time_ns() // 1_000_000)
    messages = stream.messages(block, 0, (stream.CUSTOM,))
    used_s = 0.0
    for at in range(0, events, batch):
        body = b"[" + b",".join(islice(messages, min(batch, events - at))) + b"]"
        began_s = time.process_time()
        orjson.loads(body)
        used_s += time.process_time() - began_s
    return used_s / events * 1e6


if __name__ == "__main__":
    print(floor_us(**json.loads(sys.argv[1])))
