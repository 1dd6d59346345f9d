"""The service as ``cadence-consumer run`` starts it, with other waits between sessions: ``python -m tests.support.processes.impatient``.

Settings come from the environment, the waits from ``IMPATIENT``: a JSON object of :class:`consumer.ingest.supervisor.SupervisorOptions`'s fields.
What is long by design (a quarter of an hour for a used-up allocation, half a minute after a refused sign-in, a minute of health before a
failure counts as the first one again) becomes short enough for a test to see its end; nothing else differs.
"""

import asyncio
import json
import os
import sys

from consumer.app import serve
from consumer.ingest.supervisor import SupervisorOptions
from consumer.settings import load_settings

if __name__ == "__main__":
    settings = load_settings(None, os.environ, connects=True)
    sys.exit(asyncio.run(serve(settings, SupervisorOptions(**json.loads(os.environ["IMPATIENT"])))))
