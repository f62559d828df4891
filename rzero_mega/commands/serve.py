"""The command `serve`: a model behind an OpenAI-compatible endpoint, until it is told to end."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.commands.export import check_model, role_named
from rzero_mega.config import Config, load_config, with_overrides
from rzero_mega.errors import UserError
from rzero_mega.inspection.model import inspect_template, inspect_tokenizer
from rzero_mega.release.endpoint import CLIENT_KEY, QUESTION, Endpoint, how_to_call, of_model, of_run, server_spec
from rzero_mega.release.trained_model import trained_model
from rzero_mega.rollout.sglang.server.address import EVERY_INTERFACE
from rzero_mega.rollout.sglang.server.command import LOOPBACK, ServerSpec, check_extra_arguments
from rzero_mega.rollout.sglang.server.installation import check_serving, servers_python
from rzero_mega.rollout.sglang.server.process import ServerProcess, hold_port
from rzero_mega.run import RunDirectory
from rzero_mega.scratch import temporary_folder
from rzero_mega.terminal import say
from rzero_mega.weights.base_model import check_model_folder
from rzero_mega.weights.model_files import CONFIG, read_object

LOOK_S = 0.5
PORT = 30000


@dataclass(frozen=True)
class ServeOptions:
    """Which model and where: see the command's help. Iteration and role are a run's alone."""

    host: str = "127.0.0.1"
    port: int = PORT
    role: str | None = None
    iteration: int | None = None


def serve(target: Path | None, options: ServeOptions, overrides: Sequence[str]) -> None:
    """Serve until an interruption ends it, which leaves nothing behind. UserError for what can't be served."""
    source = _source(target)
    own = _defaults(source) if isinstance(source, Path) else source.config
    config = with_overrides(own, [*overrides, f"rollout.sglang.host={options.host}"])
    key, made_up = _key(config, options.host)
    check_extra_arguments(config.rollout.sglang.extra_arguments)
    python = servers_python(config.rollout.sglang.python)
    check_serving(python)
    # Before anything is read: a model takes minutes to check and to load.
    with closing(hold_port(options.host, options.port)) as held, temporary_folder("serve") as work:
        endpoint = _endpoint(source, options, work / "model")
        spec = server_spec(endpoint, config, held.getsockname()[1])
        log = Path(tempfile.gettempdir()) / f"rzero-mega-serve-{os.getuid()}-{spec.port}.log"
        say(f"{endpoint.name}: starting; its log is {log}")
        server: ServerProcess | None = None
        try:
            server = ServerProcess.start(spec, log, key, python=python)
            server.wait_ready(config.rollout.sglang.start_timeout_s)
            held.close()
            _tell(endpoint, spec, config.rollout.sglang.api_key_env, key if made_up else None)
            while server.alive():
                time.sleep(LOOK_S)
            raise UserError(f"the server of {endpoint.name} has ended: {server.reason()} (log: {log})")
        except KeyboardInterrupt:
            if server is not None:
                server.stop()
            log.unlink(missing_ok=True)
            say(f"{endpoint.name}: ended")
        finally:
            if server is not None:
                server.stop()


def _source(target: Path | None) -> RunDirectory | Path:
    """The run that is meant, or the target itself if it is a model's folder."""
    if target is None:
        return RunDirectory.latest(Path("runs"))
    if not (target / "run.json").is_file() and (target / CONFIG).is_file():
        return target
    if not (target / "run.json").is_file():
        raise UserError(f"{target}: neither a run directory (with a run.json) nor a model's folder (with a {CONFIG})")
    return RunDirectory.open_existing(target)


def _defaults(folder: Path) -> Config:
    """The paper's settings for a model's folder, in the dtype that its weights have."""
    raw = read_object(folder, CONFIG)
    own = raw.get("dtype", raw.get("torch_dtype"))
    return load_config(overrides=["rollout.dtype=float32"] if own == "float32" else [])


def _key(config: Config, host: str) -> tuple[str, bool]:
    """The key that users of the endpoint need, and whether it was made up here, to be shown at the terminal alone."""
    variable = config.rollout.sglang.api_key_env
    key = os.environ.get(variable)
    if key:
        return key, False
    if host not in LOOPBACK:
        raise UserError(f"--host {host}: other machines can reach it; put a key into the environment as {variable}")
    if not sys.stdout.isatty():
        raise UserError(f"{variable}: not set; a key is made up and shown at a terminal alone, so set one")
    return secrets.token_urlsafe(32), True


def _endpoint(source: RunDirectory | Path, options: ServeOptions, folder: Path) -> Endpoint:
    if isinstance(source, RunDirectory):
        trained = trained_model(source, role_named(options.role or "solver"), options.iteration)
        check_model(trained)
        return of_run(trained, folder)
    if options.role is not None or options.iteration is not None:
        raise UserError(f"{source}: is a model's folder; --role and --iteration choose among the models of a run")
    shape = check_model_folder(source)
    inspect_tokenizer(source, shape.vocab)
    endpoint = of_model(source, folder)
    inspect_template(endpoint.folder, endpoint.template, QUESTION)
    return endpoint


def _tell(endpoint: Endpoint, spec: ServerSpec, variable: str, made_up: str | None) -> None:
    where = f"{spec.url}/v1" + (" (on all interfaces of this machine)" if spec.host in EVERY_INTERFACE else "")
    say(f"{endpoint.name}: at {where}, until Ctrl-C")
    say()
    key = made_up if made_up is not None else f"${variable}"
    say(f"export {CLIENT_KEY}={key}" + ("  # made up for this server, and written down nowhere" if made_up else ""))
    say()
    say(how_to_call(endpoint, spec.url))
