"""Section ``store``: the URL of the store, validated and shown without password."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field

from consumer.settings.values import FromFile, Section

__all__ = ["StoreSettings", "without_password"]

_PASSWORD_IN_QUERY = re.compile(r"([?&]password=)[^&#]*")


def _store_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme == "redis+sentinel" and separator:
        raise ValueError(
            "redis+sentinel:// is not supported yet; name the primary with redis:// or rediss://"
        )
    if scheme in ("redis", "rediss", "unix") and separator:
        if not rest.strip("/"):
            raise ValueError(
                "must contain the server's address, as in redis://cache:6379/0 or unix:///run/redis.sock?db=0"
            )
        return url
    if scheme != "sqlite" or not separator:
        raise ValueError(
            "must be sqlite:///FILE (three slashes: relative, four: absolute), redis://, rediss:// or unix://"
        )
    if not rest.startswith("/") or rest == "/":
        raise ValueError(
            "must name a file after three slashes (relative) or four (absolute), "
            "as in sqlite:///cadence.db or sqlite:////var/lib/cadence/cadence.db"
        )
    query = rest.partition("?")[2]
    if query not in ("", "synchronous=normal", "synchronous=full"):
        raise ValueError(
            f"accepts ?synchronous=normal (default) or ?synchronous=full after the file, not ?{query}"
        )
    return url


def without_password(url: str) -> str:
    """Mask the password in a URL; Redis accepts it in the query too."""
    url = _PASSWORD_IN_QUERY.sub(r"\1***", url)
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


class StoreSettings(Section):
    """``store``: storage of state, journal and positions."""

    url: Annotated[str, AfterValidator(_store_url), FromFile()] = Field(
        default="sqlite:///cadence.db",
        repr=False,
        description="sqlite:///FILE; default sqlite:///cadence.db in the working directory, so that a first run needs no server. "
        "With ?synchronous=full every commit waits for the disk. In production redis://, rediss:// (TLS) or unix:// of a Redis 7 or newer, "
        "or Valkey.",
    )
    prefix: str = Field(
        default="cadence",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="First part of every key, so that several orgs can share one Redis; default cadence. SQLite ignores it.",
    )

    @property
    def is_redis(self) -> bool:
        """True for a Redis or Valkey server."""
        return not self.url.startswith("sqlite:")

    @property
    def path(self) -> Path:
        """Path of the SQLite file."""
        return Path(self.url.removeprefix("sqlite:///").partition("?")[0])

    @property
    def synchronous(self) -> Literal["normal", "full"]:
        """Durability of a commit in SQLite.

        With ``full`` a commit waits for the disk and survives a power failure; with ``normal`` it survives a killed process.
        """
        return "full" if self.url.endswith("?synchronous=full") else "normal"

    @property
    def shown(self) -> str:
        """URL without the password, for people."""
        return without_password(self.url)
