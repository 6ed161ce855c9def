"""The load against targets whose truth is known: real HTTP servers in processes of their own."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from compare.measures.difference import between
from compare.results import Results, Target, read
from local.addresses import free_port
from tests.support.scripted import scripted
from tests.support.service import ROOT

Start = Callable[[dict[str, Any]], str]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(scripted(script))


def run(folder: Path, targets: dict[str, str], *options: object, rate: float = 40, seconds: float = 5) -> Results:
    output = folder / "compare.json"
    named = [argument for name, url in targets.items() for argument in ("--target", f"{name}={url}")]
    load = ["--rate", str(rate), "--seconds", str(seconds), "--warmup", "0", "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "compare", "run", *named, *load, *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return read(output)


def only(results: Results) -> Target:
    [target] = results.targets
    return target


def test_every_end_is_counted_as_what_it_was(start: Start, tmp_path: Path) -> None:
    faults = ["none", "none", "503", "cut", "error", "resumable"]
    url = start({"latencies": [5], "faults": faults})
    target = only(run(tmp_path, {"a": url}, "--requests", 120))
    assert target.counts.requests == 120
    assert (target.counts.whole, target.counts.truncated, target.counts.resumed) == (60, 20, 20)
    assert target.counts.errors == {"event_upstream_connection": 20, "http_503": 20}
    assert target.counts.failed == 60
    # What a text says is not what a stream says: each text of these looks like an end.
    assert target.traffic.output_tokens == 3


def test_the_rest_of_a_cut_stream_is_asked_for_three_times(start: Start, tmp_path: Path) -> None:
    """However it fails to come: one is had at the second time, one never."""
    target = only(run(tmp_path, {"a": start({"latencies": [5], "faults": ["reluctant", "gone"]})}, "--requests", 20))
    assert (target.counts.whole, target.counts.truncated, target.counts.resumed) == (10, 10, 20)
    assert target.counts.errors == {}


def test_what_the_service_says_of_itself_is_told(start: Start, tmp_path: Path) -> None:
    results = run(tmp_path, {"a": start({"latencies": [20]})}, "--requests", 50)
    target = only(results)
    assert (target.home, target.instances, target.counts.whole) == ("fargate", 1, 50)
    assert (target.starts.told, target.starts.cold, target.starts.restored) == (50, 1, 0)
    assert target.measures["ttft_cold"].n == 1
    # 20 ms here, of which 5 were the upstream's by its own word.
    assert target.measures["added_ttft"].p50.value > 14
    assert results.limits.stopped_by == "requests"


def test_a_stall_is_not_hidden_by_requests_that_nobody_sent_meanwhile(start: Start, tmp_path: Path) -> None:
    """Of 10 s a target stands still for 2: a fifth of the requests wait, a second on the average."""
    target = only(run(tmp_path, {"a": start({"latencies": [1], "stall": [4, 2]})}, rate=60, seconds=10))
    ttft = target.measures["ttft"]
    assert ttft.p50.value < 500
    assert ttft.p90.value > 700
    assert ttft.p99.value > 1700
    assert target.counts.whole == target.counts.requests


def test_a_dead_target_is_counted_and_holds_up_no_other(start: Start, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    alive, gone = run(tmp_path, {"a": start({"latencies": [1]}), "b": dead}, "--requests", 100).targets
    assert (alive.counts.whole, alive.counts.requests) == (50, 50)
    assert gone.counts.errors == {"connect": 50}


def test_an_interrupt_keeps_what_there_is(start: Start, tmp_path: Path) -> None:
    output = tmp_path / "compare.json"
    url = start({"latencies": [1, 1, 1, 600_000]})
    command = ["run", "--target", f"a={url}", "--rate", "40", "--warmup", "0", "--output", str(output)]
    with subprocess.Popen(
        [sys.executable, "-m", "compare", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # its first line of progress: it runs
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate()
    assert process.returncode == 0
    results = read(output)
    target = only(results)
    assert results.limits.stopped_by == "interrupt"
    # One of four never ends: these are in no figure, and it is said how many they are.
    assert target.counts.whole == target.counts.requests > 0
    assert any("still open at the interrupt" in warning for warning in results.warnings)
    assert "a  (fargate, 1 instances" in printed


def test_a_key_is_sent_and_told_nowhere(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPARE_KEY", "hw_of_all")
    monkeypatch.setenv("COMPARE_KEY_A", "hw_of_a")
    urls = {"a": start({"latencies": [1], "key": "hw_of_a"}), "b": start({"latencies": [1], "key": "hw_of_all"})}
    results = run(tmp_path, urls, "--requests", 20)
    assert [target.counts.whole for target in results.targets] == [10, 10]
    assert b"hw_of" not in (tmp_path / "compare.json").read_bytes()


def test_over_tls_whoever_has_a_certificate_to_believe(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    url = start({"latencies": [1], "certificate": str(certificate)})
    assert only(run(tmp_path, {"a": url}, "--requests", 10)).counts.errors == {"tls": 10}
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    assert only(run(tmp_path, {"a": url}, "--requests", 10)).counts.whole == 10


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_scripted_quantiles_lie_in_their_intervals_and_a_tenth_more_is_found(start: Start, tmp_path: Path) -> None:
    """Two of three are alike. What this machine adds is at least nothing; a fourth without latency shows how much."""
    draw = np.random.default_rng(4)
    latencies = 200 * np.exp(0.25 * draw.standard_normal(4000))
    scripts = {"one": latencies, "same": draw.permutation(latencies), "slower": 1.1 * draw.permutation(latencies)}
    urls = {name: start({"latencies": script.tolist()}) for name, script in scripts.items()}
    results = run(tmp_path, urls | {"machine": start({"latencies": [0]})}, rate=40, seconds=40)
    one, same, slower, machine = results.targets
    added = machine.measures["ttft"].p99.value
    for target, script in zip((one, same, slower), scripts.values(), strict=True):
        ttft = target.measures["ttft"]
        for estimate, share in ((ttft.p50, 0.5), (ttft.p90, 0.9), (ttft.p99, 0.99)):
            truth = np.quantile(script, share)
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.low - added <= truth <= estimate.high
    assert not [change for change in between([(one, same)]) if change.beyond_noise]
    changed = {(change.measure, change.what) for change in between([(one, slower)]) if change.beyond_noise}
    assert ("ttft", "p50") in changed
