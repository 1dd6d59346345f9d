"""The service as ``cadence-consumer run`` starts it, but that it looks more often for what may be forgotten: ``python -m tests.rounds.soak.command``.

Settings come from the environment, the waits from ``OFTEN``, a JSON object: ``expire_ms`` between two walks through what is known (an hour),
``page_ms`` between two pages of such a walk, ``trim_ms`` between two looks at the journal (a minute), ``backoff`` between two sessions (fields of
:class:`consumer.ingest.supervisor.SupervisorOptions`). Nothing else differs. The clock of the soak runs so fast that months would pass between two walks.
"""

import asyncio
import json
import os
import sys

from consumer.app import serve
from consumer.delivery import journal_retention
from consumer.ingest import state_expiry
from consumer.ingest.supervisor import SupervisorOptions
from consumer.settings import load_settings

if __name__ == "__main__":
    often = json.loads(os.environ["OFTEN"])
    state_expiry.FIRST_DELAY_MS = state_expiry.INTERVAL_MS = often["expire_ms"]
    state_expiry.PAUSE_MS = often["page_ms"]
    journal_retention.INTERVAL_MS = often["trim_ms"]
    settings = load_settings(None, os.environ, connects=True)
    sys.exit(asyncio.run(serve(settings, SupervisorOptions(**often["backoff"]))))
