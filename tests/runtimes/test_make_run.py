"""What `make run` starts, on one person's machine."""

import os
import re
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.runtimes.launched import Launched, gone, launched, refusal


@pytest.fixture(scope="module")
def first(shared_data: Path) -> Iterator[Launched]:
    with launched(shared_data) as service:
        yield service


def _piece_times(run: dict[str, str]) -> list[float]:
    body = {"model": run["model"], "input": "Count to twenty.", "max_tokens": 40}
    headers = {"authorization": f"Bearer {run['key']}"}
    with httpx.stream("POST", f"{run['url']}/v1/completions", json=body, headers=headers, timeout=20) as answer:
        assert answer.is_success, answer.read()
        lines = [(time.monotonic(), line) for line in answer.iter_lines() if line.startswith("data:")]
    assert lines[-1][1] == "data: [DONE]"
    return [when for when, _ in lines]


def test_first_key_streams_piece_by_piece(first: Launched) -> None:
    times = _piece_times(first.run)
    assert times[-1] - times[0] > 0.3
    assert len({round(when, 2) for when in times}) > 5


def test_a_chat_needs_no_model(first: Launched) -> None:
    said = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}]}
    headers = {"authorization": f"Bearer {first.run['key']}"}
    answer = httpx.post(f"{first.run['url']}/api/chat", json=said, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_printed_curl_works_as_it_stands(first: Launched) -> None:
    command = re.search(r"curl -N.*?'$", first.said, re.DOTALL | re.MULTILINE)
    assert command, first.said
    _, _, url, _, authorization, _, content_type, _, body = shlex.split(command[0].replace("\\\n", ""))
    headers = dict(header.split(": ", 1) for header in (authorization, content_type))
    answer = httpx.post(url, headers=headers, content=body, timeout=30)
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_run_file_says_what_a_script_needs_and_is_private(first: Launched) -> None:
    run = first.run
    assert first.run_file.name == "run.json"
    assert {"url", "admin_key", "key", "model", "database_url", "upstream_url", "pid", "app_pid"} <= run.keys()
    assert httpx.get(f"{run['url']}/readyz").status_code == 200
    private = [first.run_file, *(first.run_file.with_name(name) for name in ("admin_key", "key"))]
    assert {file.stat().st_mode & 0o777 for file in private} == {0o600}


def test_service_beside_the_first_shares_its_database_keys_and_upstream(first: Launched, shared_data: Path) -> None:
    run = first.run
    with launched(shared_data, DATABASE_URL=run["database_url"]) as second:
        beside = second.run
        assert second.run_file.name == f"run-{httpx.URL(beside['url']).port}.json"
        assert first.run == run
        shared = ("admin_key", "key", "database_url", "upstream_url", "model")
        assert {name: beside[name] for name in shared} == {name: run[name] for name in shared}
        assert len(_piece_times(beside)) > 5
    assert not second.run_file.exists()
    assert len(_piece_times(run)) > 5


def test_second_start_on_the_same_folder_is_refused_with_the_way_out(first: Launched, shared_data: Path) -> None:
    said = refusal(shared_data)
    assert said.startswith(f"Headwater already runs on {shared_data} (process {first.process.pid}, {first.run['url']})")
    assert "DATABASE_URL" in said


def test_named_upstream_is_used_and_none_is_simulated(data: Path) -> None:
    with launched(data, ANTHROPIC_BASE_URL="http://127.0.0.1:1", HEADWATER_MODEL="some-model") as service:
        assert (service.run["upstream_url"], service.run["model"]) == ("http://127.0.0.1:1", "some-model")
        assert not any("local.upstream" in process.cmdline() for process in service.descendants())


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "launcher alone"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_everything_within_3_s(data: Path, number: signal.Signals, whole_group: bool) -> None:
    with launched(data) as service:
        processes = service.descendants()
        assert len(processes) > 3
        (os.killpg if whole_group else os.kill)(service.process.pid, number)
        started = time.monotonic()
        assert service.exit_code() == 0, service.said
        assert time.monotonic() - started < 3
    assert gone(processes, 0.2)
    assert not list(data.glob("*.json"))
    assert "Traceback" not in service.said


def test_open_stream_does_not_hold_up_the_end(data: Path) -> None:
    with launched(data) as service:
        run = service.run
        body = {"model": run["model"], "input": "Tell me a very long story.", "max_tokens": 4000}
        headers = {"authorization": f"Bearer {run['key']}"}
        with httpx.stream("POST", f"{run['url']}/v1/completions", json=body, headers=headers) as answer:
            lines = answer.iter_lines()
            next(lines)
            service.process.send_signal(signal.SIGINT)
            started = time.monotonic()
            rest = list(lines)
            assert service.exit_code() == 0
            assert time.monotonic() - started < 3
    assert any(line.startswith("event: error") for line in rest)


def test_dead_app_ends_the_rest_and_is_named(data: Path) -> None:
    with launched(data) as service:
        processes = service.descendants()
        os.kill(service.run["app_pid"], signal.SIGKILL)
        assert service.exit_code() == 1
    assert service.said.endswith("Error: The app ended unexpectedly, by SIGKILL.\n")
    assert gone(processes, 0.2)


def test_killed_launcher_leaves_a_folder_that_starts_again(data: Path) -> None:
    with launched(data) as service:
        before, left = service.run, service.descendants()
        service.process.kill()
        service.exit_code()
    with launched(data) as service:
        assert gone(left, 0)
        assert service.run["key"] == before["key"]
        assert len(_piece_times(service.run)) > 5


def test_as_a_function_it_streams_and_is_billed(data: Path) -> None:
    with launched(data, "--on-lambda") as service:
        run, processes = service.run, service.descendants()
        assert len(_piece_times(run)) > 5
        service.process.send_signal(signal.SIGINT)
        assert service.exit_code() == 0, service.said
    assert gone(processes, 0.2)
    assert re.search(r"^cold starts +[1-9]", service.said, re.MULTILINE)
    assert re.search(r"^billed +[0-9]+ ms", service.said, re.MULTILINE)
    assert "failed" not in service.said
