"""The folder `.data`: secrets that are kept, and one launcher that is first."""

from pathlib import Path

import pytest

from local.addresses import answers, url_of
from local.banner import banner
from local.postgres_folder import complaint
from local.state import Run, open_data_folder

RUN = Run(
    url="http://127.0.0.1:1",
    admin_key="hw_admin_a",
    key="hw_b",
    model="m",
    database_url="postgresql://",
    upstream_url="http://127.0.0.1:1",
    upstream_simulated=True,
    pid=1,
    app_pid=2,
)


def test_admin_key_is_made_once_and_private(tmp_path: Path) -> None:
    with open_data_folder(tmp_path / "data") as folder:
        key = folder.admin_key()
        assert folder.admin_key() == key
    assert (tmp_path / "data" / "admin_key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_empty_key_file_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "admin_key").touch()
    with open_data_folder(tmp_path) as folder:
        assert folder.admin_key().startswith("hw_admin_")


def test_second_launcher_sees_the_first_and_leaves_its_file(tmp_path: Path) -> None:
    with open_data_folder(tmp_path) as first, first.published(RUN, 8080), open_data_folder(tmp_path) as second:
        assert (first.first, second.first) == (True, False)
        assert second.first_run() == RUN
        with second.published(RUN, 8081):
            assert {path.name for path in tmp_path.glob("*.json")} == {"run.json", "run-8081.json"}
        assert [path.name for path in tmp_path.glob("*.json")] == ["run.json"]
    with open_data_folder(tmp_path) as folder:
        assert folder.first


@pytest.mark.parametrize("text", ["", "[]", '{"url": "x"}'])
def test_damaged_run_file_is_as_none(tmp_path: Path, text: str) -> None:
    with open_data_folder(tmp_path):
        (tmp_path / "run.json").write_text(text)
        with open_data_folder(tmp_path) as second:
            assert second.first_run() is None


def test_run_file_of_a_killed_launcher_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    with open_data_folder(tmp_path):
        assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("box.local", "http://box.local:80"),
    ],
)
def test_url_can_be_connected_to(host: str, url: str) -> None:
    assert url_of(host, 80) == url


def test_nothing_answers_where_nobody_listens() -> None:
    assert not answers("http://127.0.0.1:1")


def test_banner_names_every_part(tmp_path: Path) -> None:
    text = banner(RUN, "simulated", "Postgres 18", tmp_path)
    assert all(part in text for part in ("simulated", "Postgres 18", f"{RUN.url}/docs", RUN.key, '"model": "m"'))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("LOG: a\n2026 UTC [7] FATAL:  could not open file.\nLOG: b\n", "could not open file"),
        ("initdb: error: no space\ninitdb: hint: buy some\n", "no space"),
        ("bus error\n", "bus error"),
        ("", "it said nothing"),
    ],
)
def test_complaint_is_the_last_grave_line(said: str, sentence: str) -> None:
    assert complaint(said) == sentence
