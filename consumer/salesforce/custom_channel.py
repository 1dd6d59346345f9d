"""The custom channel that the service likes best, as Salesforce wants it described: one stream that carries both objects.

A channel and its members are separate components. Salesforce takes them as files (Metadata API) or as requests (Tooling API). Members may
name *enriched* fields, which then come with every update and deletion also where they did not change: those that tell whose a record is
save the service its look-ups. Salesforce reads them when it delivers, so they are right only where they never change.

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
    """A channel with both objects.

    Attributes:
        name: without ``__chn``.
        label: for people.
        enrich: whether its members name enriched fields.
        api_version: as in ``66.0``.
    """

    name: str
    label: str
    enrich: bool
    api_version: str

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None or len(self.name) > _MAX_NAME_LENGTH:
            raise ValueError(
                f"{self.name!r} is no name for a channel: letters, digits and single underscores, "
                f"a letter first, no underscore last, at most {_MAX_NAME_LENGTH}"
            )
        if not self.label.strip():
            raise ValueError("a channel needs a label")

    @property
    def full_name(self) -> str:
        """As Salesforce calls it."""
        return f"{self.name}__chn"

    @property
    def subscription(self) -> str:
        """What the setting ``channels`` names."""
        return f"/data/{self.full_name}"

    @property
    def members(self) -> dict[str, str]:
        """Full name of each member to the object that it carries."""
        # A developer name has no two underscores in a row.
        return {f"{self.name}_chn_{entity}ChangeEvent": entity for entity in ENTITIES}

    def enriched(self, entity: str) -> list[str]:
        """The fields of ``entity`` that are asked to come with every update and deletion."""
        known = {field.alias for field in ENTITIES[entity].model_fields.values()}
        return [name for name in IMMUTABLE_FIELDS if name in known] if self.enrich else []

    def files(self) -> dict[str, str]:
        """Path to content of everything that a deployment with the Metadata API needs."""
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
        """The same as requests to the Tooling API, in this order."""
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
            return f"<types>{''.join(_tag('members', each) for each in members)}{_tag('name', name)}</types>"

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
