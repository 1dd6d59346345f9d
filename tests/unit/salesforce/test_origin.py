"""Where an access token may be sent: by a grammar that two readers of URLs cannot understand differently."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.salesforce.origin import UrlOrigin, instance_origin

ORG = UrlOrigin.parse("https://MyDomain.my.salesforce.com/")
LOGIN = "https://login.salesforce.com"


def test_an_origin_is_scheme_host_and_port():
    assert (ORG.scheme, ORG.host, ORG.port) == ("https", "mydomain.my.salesforce.com", 443)
    assert str(ORG) == "https://mydomain.my.salesforce.com"
    assert UrlOrigin.parse("https://mydomain.my.salesforce.com:443") == ORG
    assert str(UrlOrigin.parse("http://[::1]:8080")) == "http://[::1]:8080"
    assert UrlOrigin.parse("http://localhost") != UrlOrigin.parse("http://localhost:8080")


@pytest.mark.parametrize(
    "url",
    [
        "http://u@host", "https://u:p@my.salesforce.com", "https://my.salesforce.com@evil.example", "https://a\\@b",
        "ftp://host", "//host", "host", "", "https://", "https://host:0", "https://host:65536", "https://host:x",
        "https://host/path", "https://host?q", "https://host#f", "https://ho st", "https://host\n", "https://ho\u017ft",
        "https://host.", "https://-", "https:///host", "https:host", "https://[::1", 7, None, ["https://host"],
    ],
)  # fmt: skip
def test_anything_else_is_no_origin(url):
    with pytest.raises(ValueError, match=r"is not scheme and host|valid port"):
        UrlOrigin.parse(url)


@pytest.mark.parametrize(
    "target", ["/services/data/v66.0/query/01g-2000", "/x?q=SELECT%20Id", "https://mydomain.my.salesforce.com/x",
               "HTTPS://MYDOMAIN.my.salesforce.com:443/x", "/a@b", "/a:9/b"],
)  # fmt: skip
def test_a_path_or_a_url_of_the_same_origin_is_joined(target):
    url = urlsplit(ORG.join(target))
    assert (url.scheme, url.hostname, url.port, url.username) == (
        "https",
        "mydomain.my.salesforce.com",
        None,
        None,
    )


@pytest.mark.parametrize(
    "target",
    [
        "@127.0.0.1:9/x", "1/steal", ":9/x", ".evil.example/x", "//evil.example/x", "/\\evil.example", "\\\\evil.example",
        "https://evil.example/x", "http://mydomain.my.salesforce.com/x", "https://mydomain.my.salesforce.com:8443/x",
        "https://mydomain.my.salesforce.com@evil.example/x", "https://mydomain.my.salesforce.com", "", "?q", "#x",
        "/a b", "/a\r\nHost: evil", "/é", "/" + "a" * 20_000, None, 7, {"a": 1},
    ],
)  # fmt: skip
def test_what_leads_elsewhere_is_refused(target):
    with pytest.raises(ValueError, match="the access token is sent nowhere else"):
        ORG.join(target)


@given(st.text(alphabet="/:@.\\?#[]%a1 \t\n-é", max_size=12) | st.text(max_size=12))
def test_whatever_is_joined_stays_at_the_origin(target):
    try:
        url = urlsplit(ORG.join(target))
    except ValueError:
        return
    assert (url.scheme, url.hostname, url.port, url.username, url.password) == (
        "https",
        ORG.host,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("instance", "login", "configured"),
    [
        ("https://mydomain.my.salesforce.com", LOGIN, None),
        ("https://na1.salesforce.com", LOGIN, None),
        ("https://agency.my.salesforce.mil", LOGIN, None),
        ("https://gateway.example:8443", "https://gateway.example:8443", None),
        ("https://gateway.example", LOGIN, "https://gateway.example/"),
        ("http://localhost:8080", "http://localhost:8080", None),
        ("http://127.0.0.1:1", LOGIN, "http://127.0.0.1:1"),
    ],
)
def test_the_org_is_at_the_login_url_at_a_domain_of_salesforce_or_where_the_settings_say(
    instance, login, configured
):
    assert str(instance_origin(UrlOrigin.parse(instance), login, configured)) == instance


@pytest.mark.parametrize(
    ("instance", "login"),
    [
        ("http://evil.example", LOGIN),
        ("https://evil.example", LOGIN),
        ("https://evilsalesforce.com", LOGIN),
        ("https://salesforce.com.evil.example", LOGIN),
        ("http://mydomain.my.salesforce.com", LOGIN),
        ("https://mydomain.my.salesforce.com:8443", LOGIN),
        ("http://localhost:9", "http://localhost:8080"),
        ("http://127.0.0.1:8080", "http://localhost:8080"),
        ("http://gateway.example", "http://gateway.example"),
    ],
)
def test_no_other_host_or_port_gets_a_token(instance, login):
    with pytest.raises(ValueError, match=r"no access token is sent|unencrypted"):
        instance_origin(UrlOrigin.parse(instance), login, None)
