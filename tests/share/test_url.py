"""URLs of shares, and the messages about invalid ones."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from archipmigrate.errors import ShareError
from archipmigrate.share.url import Remote, is_url, parse_url, refusal, with_domain
from tests.support.inprocess import Program


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("nfs://server/srv/archip", Remote("server", b"/srv/archip", {})),
        ("nfs://server/srv/archip/", Remote("server", b"/srv/archip", {})),
        ("nfs://server/", Remote("server", b"/", {})),
        ("nfs://10.1.2.3:2050/a", Remote("10.1.2.3", b"/a", {"nfsport": 2050})),
        ("nfs://b,a/p", Remote("a", b"/p", {}, others=("b",))),
        ("nfs://a,b:2050,c/p", Remote("a", b"/p", {"nfsport": 2050}, others=("b", "c"))),
        (
            "nfs://[::2],[::1]:2050,a/p",
            Remote("::1", b"/p", {"nfsport": 2050}, others=("::2", "a")),
        ),
        ("nfs://[::1]/a%20b%FF", Remote("::1", b"/a b\xff", {})),
        ("nfs://s/a?version=4&uid=0&gid=7", Remote("s", b"/a", {"version": 4, "uid": 0, "gid": 7})),
        ("nfs://s/a?mountport=1&timeout=5", Remote("s", b"/a", {"mountport": 1, "timeout": 5})),
        ("nfs://s/a?domain=x.org", Remote("s", b"/a", {}, "x.org")),
    ],
)
def test_parse_url_reads_server_path_and_options(url: str, remote: Remote) -> None:
    assert parse_url(url) == remote


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nfs:///srv", "write nfs://"),
        ("nfs://server", "write nfs://"),
        ("nfs://server/a?version", "write nfs://"),
        ("nfs://server/a?version=three", "write nfs://"),
        ("nfs://server/a?version=2", "version is from 3 to 4"),
        ("nfs://server/a?uid=4294967295", "uid is from"),
        ("nfs://server/a?nfsport=0", "nfsport is from"),
        ("nfs://server/a?sec=krb5", "unknown option sec"),
        ("nfs://server:99999/a", "write nfs://"),
        ("nfs://server/a%00b", "write nfs://"),
        ("nfs://server/a?domain=", "one like example.org"),
        ("nfs://a,,b/p", "no server is named"),
        ("nfs://a:1,b:2/p", "one port"),
        (f"nfs://{','.join(map(str, range(17)))}/p", "16 addresses"),
        ("nfs://server/a?domain=a%40b", "one like example.org"),
        ("nfs://server/a?version=3&domain=a", "leave version=3 away"),
    ],
)
def test_parse_url_says_what_is_wrong(url: str, said: str) -> None:
    with pytest.raises(ShareError, match=said):
        parse_url(url)


def test_source_is_what_a_mount_has_unless_the_port_is_another() -> None:
    assert parse_url("nfs://server/srv").source == "server:/srv"
    assert parse_url("nfs://server/srv?nfsport=2049").source == "server:/srv"
    assert parse_url("nfs://server/srv?nfsport=2050").source == "server:2050:/srv"


def test_version_4_is_tried_before_3_unless_one_is_named() -> None:
    assert parse_url("nfs://server/srv").versions == (4, 3)
    assert parse_url("nfs://server/srv?version=3").versions == (3,)
    assert parse_url("nfs://server/srv?domain=x.org").versions == (4,)


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("nfs://s/a", "nfs://s/a?domain=x.org"),
        ("nfs://s/a?uid=1", "nfs://s/a?uid=1&domain=x.org"),
        ("nfs://s/a?domain=y&uid=1", "nfs://s/a?uid=1&domain=x.org"),
    ],
)
def test_with_domain_puts_it_in_the_place_of_another(url: str, made: str) -> None:
    assert with_domain(url, "x.org") == made
    assert parse_url(with_domain(url, "a&b")).domain == "a&b"


def test_only_urls_are_urls() -> None:
    assert is_url("nfs://server/a")
    assert is_url(b"nfs://server/a\xff")
    assert not is_url("/nfs://server")


def test_refusal_says_what_failed_and_what_to_do() -> None:
    error = OSError(errno.EACCES, "Permission denied", "mount")
    assert "mount: Permission denied: does the server export" in str(refusal("nfs://s/a", error))


@pytest.mark.parametrize("domain", ["user@example.org", "x" * 96, "\udcff", "\xe4.org"])
def test_domain_that_is_none_is_a_usage_error_of_a_mount_too(
    state: Path, tmp_path: Path, domain: str
) -> None:
    ended = Program("auto", state)("verify", "--nfs4-domain", domain, tmp_path)
    assert ended.status == 2
    assert "the domain is one like example.org" in ended.err


def test_source_is_the_same_whatever_the_order_of_addresses() -> None:
    sources = {parse_url(f"nfs://{servers}/srv").source for servers in ("b,a,c", "c,b,a", "a,a,b")}
    assert sources == {"a:/srv"}
