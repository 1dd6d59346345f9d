"""Definition of the recommended custom channel, one stream with both objects.

A channel and its members are separate components. Salesforce accepts them as files (Metadata API) or as requests (Tooling API). Members may
name *enriched* fields, which every update and deletion then carries even if they did not change: the fields that identify a record's run
and target save the service lookups. Salesforce reads enriched fields at delivery time, so only fields that never change are reliable.

Sources: Metadata API Developer Guide and Tooling API Developer Guide, "PlatformEventChannel" and "PlatformEventChannelMember"; Change Data
Capture Developer Guide, "Enrich Change Events with Extra Fields". Components of version 47.0 and later, enrichment from 51.0 on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from consumer.domain.objects import ENTITIES
from consumer.domain.record_state import IMMUTABLE_FIELDS

__all__ = ["CustomChannel"]

_NAME: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9]|_(?!_|$))*")
_MAX_NAME_LENGTH: Final = 80
_NAMESPACE: Final = "http://soap.sforce.com/2006/04/metadata"


@dataclass(frozen=True, slots=True)
class CustomChannel:
    """Channel with both objects.

    Attributes:
        name: developer name without ``__chn``.
        label: label for people.
        enrich: whether the members name enriched fields.
        api_version: as in ``66.0``.
    """

    name: str
    label: str
    enrich: bool
    api_version: str

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None or len(self.name) > _MAX_NAME_LENGTH:
            raise ValueError(
                f"{self.name!r} is not a valid channel name: use letters, digits and single underscores, "
                f"a letter first, no underscore last, at most {_MAX_NAME_LENGTH} characters"
            )
        if not self.label.strip():
            raise ValueError("the channel has no label: give one that is not empty")

    @property
    def full_name(self) -> str:
        """Developer name with the suffix of custom channels."""
        return f"{self.name}__chn"

    @property
    def subscription(self) -> str:
        """Value for the setting ``channels``."""
        return f"/data/{self.full_name}"

    @property
    def members(self) -> dict[str, str]:
        """Full name of each member to the object that it carries."""
        # A developer name must not contain two consecutive underscores.
        return {f"{self.name}_chn_{entity}ChangeEvent": entity for entity in ENTITIES}

    def enriched(self, entity: str) -> list[str]:
        """List the fields of ``entity`` that every update and deletion should carry."""
        known = {field.alias for field in ENTITIES[entity].model_fields.values()}
        return [name for name in IMMUTABLE_FIELDS if name in known] if self.enrich else []

    def files(self) -> dict[str, str]:
        """Build the files of a Metadata API deployment: path to content."""
        members = {
            f"platformEventChannelMembers/{name}.platformEventChannelMember": self._member(entity)
            for name, entity in self.members.items()
        }
        return {
            "package.xml": self._package(),
            f"platformEventChannels/{self.full_name}.platformEventChannel": _document(
                "PlatformEventChannel", [_tag("channelType", "data"), _tag("label", self.label)]
            ),
            **members,
        }

    def requests(self) -> list[dict[str, Any]]:
        """Build the equivalent requests to the Tooling API, to be sent in this order."""
        base_path = f"/services/data/v{self.api_version}/tooling/sobjects"
        channel = {"FullName": self.full_name, "Metadata": {"channelType": "data", "label": self.label}}
        return [
            {"method": "POST", "path": f"{base_path}/PlatformEventChannel", "body": channel},
            *(
                {
                    "method": "POST",
                    "path": f"{base_path}/PlatformEventChannelMember",
                    "body": {
                        "FullName": name,
                        "Metadata": {
                            "enrichedFields": [{"name": field} for field in self.enriched(entity)],
                            "eventChannel": self.full_name,
                            "selectedEntity": f"{entity}ChangeEvent",
                        },
                    },
                }
                for name, entity in self.members.items()
            ),
        ]

    def _member(self, entity: str) -> str:
        enriched = [
            f"<enrichedFields>{_tag('name', name)}</enrichedFields>" for name in self.enriched(entity)
        ]
        lines = [_tag("eventChannel", self.full_name), _tag("selectedEntity", f"{entity}ChangeEvent")]
        return _document("PlatformEventChannelMember", [*enriched, *lines])

    def _package(self) -> str:
        def types(name: str, members: list[str]) -> str:
            return (
                f"<types>{''.join(_tag('members', member) for member in members)}{_tag('name', name)}</types>"
            )

        return _document(
            "Package",
            [
                types("PlatformEventChannel", [self.full_name]),
                types("PlatformEventChannelMember", [*self.members]),
                _tag("version", self.api_version),
            ],
        )


def _tag(name: str, text: str) -> str:
    return f"<{name}>{escape(text, quote=False)}</{name}>"


def _document(root: str, lines: list[str]) -> str:
    inner = "".join(f"    {line}\n" for line in lines)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">\n{inner}</{root}>\n'
