"""`python -m compare run` refuses what it cannot measure, in a sentence."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from compare.load.address import AddressError, parse
from compare.load.command import run
from compare.load.watch import warnings
from compare.results import Client

A = ["--target", "a=http://127.0.0.1:1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing option '--target'"),
        (["--target", "http://127.0.0.1:1"], "say NAME=http"),
        (["--target", "a=127.0.0.1"], "say NAME=http"),
        (["--target", "a=ftp://127.0.0.1"], "say NAME=http"),
        (["--target", "a=https://me:secret@host"], "no user, query or fragment"),
        (["--target", "a=https://host?x=1"], "no user, query or fragment"),
        (["--target", "a=http://host:99999"], "a: "),
        ([*A, *A], "same name"),
        ([*A, "--dollars", "1"], "--dollars needs --token-prices"),
        ([*A, "--process", "a=none"], "say NAME=PID"),
        ([*A, "--note", "a"], "say NAME=TEXT"),
        ([*A, "--rate", "0"], "--rate"),
        ([*A, "--seconds", "-1"], "--seconds"),
        ([*A, "--output", "nowhere/compare.json"], "there is no folder nowhere"),
        ([*A, "--trace", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(run, arguments)
    assert done.exit_code == 2
    assert says in done.output
    assert "secret" not in done.output


def test_a_trace_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("when\n1\n")
    done = CliRunner().invoke(run, [*A, "--trace", str(path)])
    assert (done.exit_code, "trace.csv is no trace" in done.output) == (2, True)


def test_a_key_that_would_make_a_header_of_its_own_is_refused_without_being_told() -> None:
    with pytest.raises(AddressError, match="its key") as refused:
        parse("a=http://host", "hw_1\r\nx-admin: yes")
    assert "hw_1" not in str(refused.value)


def test_an_address_tells_no_key() -> None:
    address = parse("a=https://[::1]:8443/live/", "hw_key")
    assert address.url == "https://[::1]:8443/live"
    assert "hw_key" not in repr(address)
    request = address.request("POST", "/v1/completions", {}, b"{}").decode()
    assert request.startswith("POST /live/v1/completions HTTP/1.1\r\nhost: [::1]:8443\r\n")
    assert "\r\nauthorization: Bearer hw_key\r\n" in request
    assert request.endswith("content-length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    ("client", "number"), [(Client(0.2, 1.0), 0), (Client(0.8, 1.0), 1), (Client(0.2, 30.0), 1), (Client(1.0, 90.0), 2)]
)
def test_a_client_that_may_have_been_the_limit_says_so(client: Client, number: int) -> None:
    assert len(warnings(client)) == number
