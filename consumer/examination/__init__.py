"""Is everything there that the service needs? Looks, and changes nothing: no lease, no write, no position.

``findings`` is what is told, ``store`` and ``org`` look, ``remedies`` says what to do about what Salesforce refused. One thing that is
missing does not hide the others: what can still be looked at is looked at, and what cannot says on what it waits.
"""

from __future__ import annotations

from consumer.examination.findings import Fault, Finding, Tell, Verdict
from consumer.examination.org import OrgExamination
from consumer.examination.store import KnownOfStore, examine_store

__all__ = ["Fault", "Finding", "KnownOfStore", "OrgExamination", "Tell", "Verdict", "examine_store"]
