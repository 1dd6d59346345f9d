"""Origins of Salesforce.

They determine where an access token may be sent, and how URLs from answers are joined to it.

One type compares and joins all URLs, with a grammar of its own: anything that two URL parsers could read differently (user names,
backslashes, control characters, letters beyond ASCII) is refused. No URL is concatenated elsewhere.

A token binds the org to one origin: the host that the operator configured, or one of Salesforce's own domains over https.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["SALESFORCE_DOMAINS", "UrlOrigin", "instance_origin", "is_loopback"]

SALESFORCE_DOMAINS: Final = (
    "salesforce.com",
    "salesforce.mil",
    "force.com",
    "cloudforce.com",
    "database.com",
    "sfcrmproducts.cn",
)
"""Domains of orgs: My Domain and instance names, Government Cloud, and Salesforce on Alibaba Cloud."""

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_MAX_LENGTH: Final = 16_384
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)
_PATH: Final = re.compile(r"/(?!/)[!-\[\]-~]*")
"""Begins with one slash; printable ASCII without spaces and backslashes."""


@dataclass(frozen=True, slots=True)
class UrlOrigin:
    """Scheme, host and port of a URL.

    They must be equal for a token to be sent there.

    Attributes:
        scheme: ``https`` or ``http``.
        host: in lower case; an IPv6 address in brackets.
        port: port of the URL, or the default of its scheme.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: Any) -> UrlOrigin:
        """Parse a URL that is scheme, host and port alone; a trailing slash is accepted.

        Raises:
            ValueError: the URL is anything else.
        """
        match = _ORIGIN.fullmatch(url.removesuffix("/")) if isinstance(url, str) else None
        if match is None:
            raise ValueError(f"{_shown(url)} is not scheme and host of an HTTP URL")
        scheme = match["scheme"].lower()
        port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
        if not 0 < port <= 65_535:
            raise ValueError(f"{_shown(url)} has no valid port")
        return cls(scheme, match["host"].lower(), port)

    def join(self, target: Any) -> str:
        """Join a path, or a URL of the same origin, to this origin.

        Raises:
            ValueError: the target is neither, or leads to another origin.
        """
        if isinstance(target, str) and len(target) <= _MAX_LENGTH:
            if _PATH.fullmatch(target) is not None:
                return f"{self}{target}"
            match = _ORIGIN.match(target)
            if match is not None:
                path = target[match.end() :]
                if _PATH.fullmatch(path) is not None and UrlOrigin.parse(match[0]) == self:
                    return f"{self}{path}"
        raise ValueError(
            f"{_shown(target)} does not lead to {self}, and the access token is sent nowhere else"
        )

    @property
    def is_private(self) -> bool:
        """Encryption by TLS, or traffic that does not leave this machine."""
        return self.scheme == "https" or is_loopback(self.host)

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def is_loopback(host: str) -> bool:
    """Report whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def instance_origin(origin: UrlOrigin, login_url: str, configured_url: str | None) -> UrlOrigin:
    """Check that a token may be sent to the origin that its response names.

    Args:
        origin: origin of the response's ``instance_url``.
        login_url: URL that issued the token.
        configured_url: ``salesforce.instance_url``, where it is set.

    Raises:
        ValueError: it is not the org's.
    """
    trusted = [UrlOrigin.parse(url) for url in (login_url, configured_url) if url]
    if not origin.is_private:
        raise ValueError(f"{origin} would receive the access token unencrypted")
    if origin in trusted or _is_salesforce(origin):
        return origin
    raise ValueError(
        f"{origin} is neither the login URL nor a domain of Salesforce, so no access token is sent to it; "
        "if it is the org's own host, set salesforce.instance_url to it"
    )


def _is_salesforce(origin: UrlOrigin) -> bool:
    return (
        origin.scheme == "https"
        and origin.port == _DEFAULT_PORTS["https"]
        and any(origin.host.endswith(f".{domain}") for domain in SALESFORCE_DOMAINS)
    )


def _shown(value: Any) -> str:
    return repr(value[:80]) if isinstance(value, str) else f"a {type(value).__name__}"
