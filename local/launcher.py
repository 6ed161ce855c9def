"""What `make run` starts: upstream, database and app, each ended in the reverse order whatever happens."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from app.config import Settings
from local.addresses import answers, free_port, url_of
from local.api import is_ready, key_works, make_key
from local.app_process import running_app, running_batch_function, running_function
from local.banner import banner
from local.database import Database, database
from local.errors import LaunchError
from local.processes import Child, clear_up, remembered, wait_until
from local.state import DataFolder, Run, open_data_folder
from local.upstream_choice import Upstream, upstream
from local.workflow_process import Workflow, local_workflow, running_workflow

_READY_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    data: Path
    model: str | None
    reload: bool
    on_lambda: bool
    workflow: bool
    """Batches too; on a local Lambda, whose Invoke API is what the state machine knows."""


def launch(options: Options, settings: Settings) -> None:
    """Run until KeyboardInterrupt.

    Raises:
        LaunchError: something cannot be started, or ended by itself.
    """
    given_url = settings.database_url.get_secret_value() if "database_url" in settings.model_fields_set else ""
    with open_data_folder(options.data) as folder:
        if not (folder.first or given_url):
            raise LaunchError(_already_running(folder))
        clear_up(folder.own("children", settings.port))
        workflow = local_workflow() if options.workflow else None
        port = free_port(settings.host, settings.port)
        with upstream(settings, options.model, folder) as source, database(given_url, folder.path) as store:
            _serve(options, settings, port, folder, source, store, workflow)


def _already_running(folder: DataFolder) -> str:
    first = folder.first_run()
    who = f" (process {first.pid}, {first.url})" if first else ""
    return (
        f"Headwater already runs on {folder.path}{who}: end it, or start one beside it "
        "by setting DATABASE_URL to the database_url in its run.json and HEADWATER_PORT to another port."
    )


def _serve(
    options: Options,
    settings: Settings,
    port: int,
    folder: DataFolder,
    source: Upstream,
    store: Database,
    workflow: Workflow | None,
) -> None:
    url = url_of(settings.host, port)
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else folder.admin_key()
    chat_model = settings.chat_model if "chat_model" in settings.model_fields_set else source.model
    given = {
        **source.environment,
        "HEADWATER_DATABASE_URL": store.url,
        "HEADWATER_ADMIN_KEY": admin_key,
        "HEADWATER_CHAT_MODEL": chat_model,
    }
    with (
        _running(options, settings, given, port, folder, workflow) as apps,
        remembered([*apps, *source.server], folder.own("children", port)),
    ):
        children = [*source.server, *store.server, *apps]
        _wait_until_ready(url, workflow, source, children)
        run = Run(
            url=url,
            admin_key=admin_key,
            key=_first_key(url, admin_key, folder),
            model=source.model,
            database_url=store.url,
            upstream_url=source.url,
            upstream_simulated=source.simulated,
            pid=os.getpid(),
            app_pid=apps[0].process.pid,
            workflow=workflow.machine.arn if workflow else None,
            workflow_url=workflow.url if workflow else None,
        )
        with folder.published(run, port):
            click.echo(banner(run, source.shown, store.shown, folder.path))
            _watch(children)


@contextmanager
def _running(
    options: Options,
    settings: Settings,
    given: Mapping[str, str],
    port: int,
    folder: DataFolder,
    workflow: Workflow | None,
) -> Iterator[list[Child]]:
    """The app first. What orders its batches is ended before it."""
    if workflow is not None:
        with (
            running_function(settings, given, port=port, workflow=workflow) as app,
            running_batch_function(given, workflow) as function,
            running_workflow(workflow, folder.path) as engine,
        ):
            try:
                yield [app, function, engine]
            finally:
                app.process.terminate()  # the two of them at once
                function.process.terminate()
    elif options.on_lambda:
        with running_function(settings, given, port=port, workflow=None) as app:
            yield [app]
    else:
        with running_app(settings, given, port=port, reload=options.reload) as app:
            yield [app]


def _wait_until_ready(url: str, workflow: Workflow | None, source: Upstream, children: list[Child]) -> None:
    def ready() -> bool:
        others = [*([source.url] if source.simulated else []), *([workflow.url] if workflow else [])]
        return all(map(answers, others)) and is_ready(url)

    if not wait_until(ready, children, _READY_WITHIN):
        raise LaunchError(f"The app was not ready within {_READY_WITHIN:.0f} s; what it said stands above.")


def _first_key(url: str, admin_key: str, folder: DataFolder) -> str:
    kept = folder.secret("key")
    return kept if kept and key_works(url, kept) else folder.keep_secret("key", make_key(url, admin_key))


def _watch(children: list[Child]) -> None:
    while True:
        for child in children:
            child.check()
        time.sleep(0.1)
