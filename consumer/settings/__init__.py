"""What the service is told: typed settings, read from one file and the environment, with every problem reported at once.

``model`` is the contract (sections, keys, units, defaults and why), ``sources`` reads the TOML file, the environment and secret files,
``problems`` words what is wrong for the person who has to change it, and ``loading`` puts the three together.
"""

from __future__ import annotations

from consumer.settings.loader import load_settings, readable_handlers
from consumer.settings.model import (
    ActionsSettings,
    CommitSettings,
    HttpSettings,
    LeaseSettings,
    LogSettings,
    OrderingSettings,
    ReplaySettings,
    Settings,
    ShutdownSettings,
    StoreSettings,
)
from consumer.settings.salesforce_settings import AuthFlow, SalesforceSettings

__all__ = [
    "ActionsSettings",
    "AuthFlow",
    "CommitSettings",
    "HttpSettings",
    "LeaseSettings",
    "LogSettings",
    "OrderingSettings",
    "ReplaySettings",
    "SalesforceSettings",
    "Settings",
    "ShutdownSettings",
    "StoreSettings",
    "load_settings",
    "readable_handlers",
]
