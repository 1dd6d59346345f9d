"""Typed settings, read from one file and the environment; all problems at once.

``model`` is the contract (sections, keys, units, defaults and reasons), ``sources`` reads the TOML file, the environment and secret files,
``problems`` describes problems for the person who has to solve them, and ``loader`` combines the three.
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
)
from consumer.settings.salesforce_settings import AuthFlow, SalesforceSettings
from consumer.settings.store_settings import StoreSettings

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
