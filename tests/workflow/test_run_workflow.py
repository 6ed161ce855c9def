"""What `make run-workflow` says and how it ends, as a person has it."""

import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from local.errors import LaunchError
from local.workflow.machine import machine_of
from tests.runtimes.launched import gone, launched


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="headwater-data-") as folder:
        yield Path(folder).resolve()


def test_what_it_prints_makes_a_batch_and_ctrl_c_leaves_nothing(data: Path) -> None:
    shell = shutil.which("bash")
    assert shell is not None
    with launched(data, "--workflow") as service:
        (commands,) = re.findall(r"^  batch=.*?^  curl [^\n]*results[^\n]*$", service.said, re.DOTALL | re.MULTILINE)
        said = subprocess.run([shell, "-e"], input=commands, capture_output=True, text=True, check=True, timeout=120)
        processes = service.descendants()
        service.process.send_signal(signal.SIGINT)
        assert service.exit_code() == 0, service.said

    lines = [msgspec.json.decode(line) for line in said.stdout.splitlines() if line.startswith("{")]
    assert [(line["custom_id"], line["status"]) for line in lines] == [
        ("danube", "succeeded"),
        ("nile", "succeeded"),
        ("rhine", "succeeded"),
    ]
    assert "event: batch" in said.stdout
    assert gone(processes, 0.2)
    assert not list(data.glob("*.json"))
    assert "Traceback" not in service.said


def test_a_template_that_is_not_there_or_is_none_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="`make run-workflow` writes it"):
        machine_of(tmp_path / "none.json")
    for text in ("nonsense", "{}", '{"Resources": {}}'):
        (tmp_path / "some.json").write_text(text)
        with pytest.raises(LaunchError, match="describes no state machine"):
            machine_of(tmp_path / "some.json")
