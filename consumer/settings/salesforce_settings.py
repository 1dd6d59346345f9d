"""Section ``salesforce``: org, user, and the requirements of each OAuth flow.

The model validates the values one by one. The requirements of a flow are rules between values, in :func:`salesforce_problems`, which reads
the section as written: its problems are reported together with all others, and not at all by commands that never connect.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from consumer.errors import SettingProblem
from consumer.settings.values import Secret, Section, may_come_from_file

__all__ = ["AuthFlow", "SalesforceSettings", "salesforce_problems"]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _salesforce_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"must be a URL such as https://MyDomain.my.salesforce.com: {error}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"must be a URL such as https://MyDomain.my.salesforce.com, not {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"):
        raise ValueError("must be only scheme and host, as in https://MyDomain.my.salesforce.com")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"must begin with https:// (http is allowed for this machine only), not {url!r}")
    return url.rstrip("/")


def _pem(key: SecretStr) -> SecretStr:
    r"""Replace ``\\n``, common in variables, by the line breaks that PEM requires."""
    text = key.get_secret_value().replace("\\n", "\n")
    if not re.search(
        r"-----BEGIN (RSA )?PRIVATE KEY-----.+-----END (RSA )?PRIVATE KEY-----", text, re.DOTALL
    ):
        raise ValueError("must be an unencrypted RSA private key as PEM text (-----BEGIN PRIVATE KEY-----…)")
    return SecretStr(text)


def _api_version(version: str) -> str:
    if not re.fullmatch(r"(4[89]|[5-9]\d|\d{3})\.0", version):
        raise ValueError(f'must be an API version such as "66.0", at least "48.0", not {version!r}')
    return version


SalesforceUrl = Annotated[str, AfterValidator(_salesforce_url)]


class AuthFlow(StrEnum):
    """Way to obtain an access token; each value is an OAuth 2.0 flow of Salesforce."""

    JWT = "jwt"
    CLIENT_CREDENTIALS = "client_credentials"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the flow's name
    PASSWORD = "password"  # noqa: S105 - the flow's name
    ACCESS_TOKEN = "access_token"  # noqa: S105 - the flow's name


class SalesforceSettings(Section):
    """``salesforce``: the org and the user.

    :func:`salesforce_problems` checks the requirements of each flow.
    """

    login_url: SalesforceUrl = Field(
        default="https://login.salesforce.com",
        description="Host of the token endpoint: https://login.salesforce.com (default, production), "
        "https://test.salesforce.com (sandboxes) or the org's My Domain, which client_credentials requires.",
    )
    auth: AuthFlow = Field(
        default=AuthFlow.CLIENT_CREDENTIALS,
        description="OAuth flow: jwt, client_credentials (default: server to server, no user signs in and nothing expires), "
        "refresh_token, password (legacy) or access_token (cannot be renewed: for experiments).",
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        description="Consumer key of the external client app or connected app; no default.",
    )
    client_secret: Secret | None = Field(
        default=None, description="Consumer secret of that app; no default. Optional for refresh_token."
    )
    username: str | None = Field(
        default=None,
        min_length=1,
        description="Salesforce user name to act as, for jwt and password; no default.",
    )
    password: Secret | None = Field(
        default=None,
        description="That user's password followed by the security token, for password; no default.",
    )
    private_key: Annotated[Secret, AfterValidator(_pem)] | None = Field(
        default=None,
        description="RSA private key as PEM text, for jwt, whose certificate the app holds; no default.",
    )
    refresh_token: Secret | None = Field(default=None, description="For refresh_token; no default.")
    access_token: Secret | None = Field(default=None, description="For access_token; no default.")
    instance_url: SalesforceUrl | None = Field(
        default=None,
        description="The org's URL, for access_token; the other flows receive it with the token (default).",
    )
    api_version: Annotated[str, AfterValidator(_api_version)] = Field(
        default="66.0",
        description="API version of CometD and REST; default 66.0. At least 48.0, which introduced change events of both objects.",
    )


_REQUIRED_KEYS: dict[AuthFlow, tuple[str, ...]] = {
    AuthFlow.JWT: ("client_id", "username", "private_key"),
    AuthFlow.CLIENT_CREDENTIALS: ("client_id", "client_secret"),
    AuthFlow.REFRESH_TOKEN: ("client_id", "refresh_token"),
    AuthFlow.PASSWORD: ("client_id", "client_secret", "username", "password"),
    AuthFlow.ACCESS_TOKEN: ("access_token", "instance_url"),
}
"""Settings that each OAuth flow requires, as in Salesforce's documentation."""

_SHARED_LOGIN_HOSTS = ("login.salesforce.com", "test.salesforce.com")


def salesforce_problems(section: Mapping[str, Any]) -> Iterator[SettingProblem]:
    """Yield the problems of the section, as written, with the chosen OAuth flow."""
    try:
        flow = AuthFlow(section.get("auth", AuthFlow.CLIENT_CREDENTIALS))
    except ValueError:
        return
    chosen = f'auth = "{flow}"' + ("" if "auth" in section else ", the default")
    for key in _REQUIRED_KEYS[flow]:
        if not section.get(key):
            field = SalesforceSettings.model_fields[key]
            file_hint = ", or …_FILE" if may_come_from_file(field) else ""
            yield SettingProblem(
                f"salesforce.{key}",
                f"is needed for {chosen}; set it, or CADENCE_SALESFORCE__{key.upper()}{file_hint}",
            )
    if flow is AuthFlow.CLIENT_CREDENTIALS:
        url = str(section.get("login_url", f"https://{_SHARED_LOGIN_HOSTS[0]}"))
        host = next(
            (host for host in _SHARED_LOGIN_HOSTS if re.match(rf"https?://{re.escape(host)}(/|:|$)", url)),
            None,
        )
        if host is not None:
            yield SettingProblem(
                "salesforce.login_url",
                f"must be the org's My Domain for {chosen}, as in https://MyDomain.my.salesforce.com: "
                f"Salesforce refuses this flow on {host}",
            )
