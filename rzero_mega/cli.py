"""The command `rzero-mega`: reads arguments, calls the room that does the work, prints errors in one line."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from rzero_mega import __version__
from rzero_mega.config import Config, ablation_names, config_from_yaml, to_yaml
from rzero_mega.errors import UserError
from rzero_mega.lifetime import die_with_parent
from rzero_mega.recipes import load_recipe, recipe_names
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.run.job import place_from
from rzero_mega.run.launch import is_rank, launch
from rzero_mega.run.stop import EXIT_CODE as STOPPED_EXIT_CODE
from rzero_mega.run.stop import Stopped, StopRequest, hold_requests

app = typer.Typer(
    help="R-Zero: a Challenger and a Solver grown from one base model teach each other.",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)

INTERRUPTED_EXIT_CODE = 130
"""128 + SIGINT, as shells have it."""

RECIPE_HELP = f"A recipe ({', '.join(recipe_names())}) or a YAML file."
Recipe = Annotated[str, typer.Argument(help=RECIPE_HELP)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, for instance seed=1 learner.layout.tp=2")]
Run = Annotated[Path | None, typer.Argument(help="A run directory; the latest under ./runs if left out.")]


@app.command()
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    ablation: Annotated[str | None, typer.Option(metavar="NAME", help=f"One of {', '.join(ablation_names())}.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print configuration and plan; start nothing.")] = False,
) -> None:
    """Run all iterations; the same command goes on with a run that was interrupted."""
    config = _config(recipe, overrides, [f"ablation={ablation}"] if ablation else [])
    if dry_run:
        _print_plan(config)
        return
    _start(config, lambda stop: _run_all(config, stop))


@app.command()
def phase(recipe: Recipe, iteration: int, name: str, overrides: Overrides = None) -> None:
    """Run one phase (challenger, questions, labels, solver, evaluate) of one iteration."""
    config = _config(recipe, overrides)
    _start(config, lambda stop: _run_phase(config, iteration, name, stop))


@app.command()
def status(run: Run = None, as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """What each iteration brought, how long its phases took, and where its jobs stand."""
    from rich.console import Console

    from rzero_mega.tracking import iterations_table, run_status

    opened = _open(run)
    found = run_status(opened)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
        return
    if not (opened.path / "jobs").is_dir():
        Console().print(iterations_table(found))
        return
    from rzero_mega.cluster import command
    from rzero_mega.cluster.show import show_jobs

    queue = command.jobs_of(opened)
    waits = found.state == "stopped" and queue
    Console().print(iterations_table(found, "queued" if waits else None))
    show_jobs(Console(), opened.path, queue)


@app.command()
def submit(
    recipe: Recipe,
    cluster: Annotated[Path | None, typer.Option(help="The cluster file; slurm/ has examples.")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print configuration, jobs and scripts; submit nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when no job is left; 0 if the run is finished.")] = False,
    local: Annotated[bool, typer.Option("--local", help="The same phases as processes here, without Slurm.")] = False,
) -> None:
    """Submit to Slurm whatever the run still needs; the same command goes on where jobs are missing."""
    from rzero_mega.cluster import command

    if local:
        _leave(command.run_here(_config(recipe, overrides), dry_run))
    if cluster is None:
        raise UserError("--cluster: needed, a YAML file that describes the cluster; or --local to run here")
    _leave(command.submit(recipe, overrides or [], cluster, dry_run, wait))


@app.command()
def logs(
    run: Run = None,
    rank: Annotated[int, typer.Option(help="Of the learner.")] = 0,
    job: Annotated[str | None, typer.Option(help="Slurm's number of it; the last if left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
) -> None:
    """Print what a rank of a job wrote."""
    from rzero_mega.run.job_logs import log_file, text_of

    for text in text_of(log_file(_open(run).path, job, rank), follow):
        typer.echo(text, nl=False)


@app.command()
def cancel(run: Run = None) -> None:
    """Cancel the jobs of a run that are queued or running; `submit` goes on later."""
    from rzero_mega.cluster import command

    typer.echo(command.cancel(_open(run)))


@app.command()
def sync(run: Run = None) -> None:
    """Send to W&B what jobs without internet have left in the run."""
    from rzero_mega.tracking.wandb_offline import sync_offline

    sync_offline(_open(run))


@app.command(hidden=True)
def node(config_file: Path, iteration: int, name: str) -> None:
    """What a phase's job runs on each of its nodes."""
    from rzero_mega.commands.node import run_node

    config = config_from_yaml(config_file)
    arguments = ["phase", str(config_file), str(iteration), name]
    _leave(run_node(config, iteration, name, arguments, place_from(os.environ, socket.gethostname())))


@app.command()
def report(
    run: Run = None, output: Annotated[Path | None, typer.Option(help="Default: report.html in the run.")] = None
) -> None:
    """Write the report, one self-contained HTML page."""
    from rzero_mega.tracking import write_report

    opened = _open(run)
    path = output or opened.path / "report.html"
    write_report(opened, path)
    typer.echo(str(path))


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="As model.path: a folder, a hub name, asset:NAME, gguf:PACKAGE.")],
    recipe: Annotated[str, typer.Option(help="Recipe whose prompts, sampling and benchmarks are used.")] = "nano",
    overrides: Overrides = None,
) -> None:
    """Score one model on the benchmarks of a recipe, without training."""
    config = _config(recipe, overrides, [f"model.path={model}", "learner.processes=1"])

    def score(_: StopRequest) -> None:
        from rzero_mega.commands.evaluate import evaluate_model

        typer.echo(json.dumps(evaluate_model(config), indent=2))

    _start(config, score)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A model's folder in Hugging Face format, or a Megatron checkpoint.")],
    target: Annotated[Path, typer.Argument(help="The folder to write, in the other format.")],
    template: Annotated[
        Path | None, typer.Option(help="For checkpoints: the folder that has the model's config.json and tokenizer.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="bfloat16 or float32; the source's if left out.")] = None,
) -> None:
    """Convert between Hugging Face format and Megatron checkpoints; the same command goes on after a kill."""
    from rzero_mega.commands.convert import convert_and_show

    typer.echo(convert_and_show(source, target, template, dtype))


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(help="Of a failed update: ITERATION/PHASE/failures/step_... in a run.")],
    overrides: Overrides = None,
    model: Annotated[Path | None, typer.Option(help="Weights, where the folder holds none.")] = None,
) -> None:
    """Do a failed update again, also in another layout, and say where it goes wrong."""
    from rzero_mega.commands.replay import open_replay, run_replay

    opened = open_replay(folder, model, overrides or [])

    def again(_: StopRequest) -> None:
        for line in run_replay(opened):
            typer.echo(line)

    _spread(opened.config, again)


@app.command()
def plan(
    model: Annotated[str, typer.Option(help="A known model, for instance Qwen3-8B, or a folder with a config.json.")],
    gpus: Annotated[int, typer.Option(help="How many GPUs there are.")],
    gpu: Annotated[str, typer.Option(help="Their kind: A100-40GB, A100-80GB, H100, H200 or B200.")] = "H100",
    gpus_per_node: Annotated[int, typer.Option(help="How many NVLink joins.")] = 8,
    tokens_per_micro_batch: Annotated[int | None, typer.Option(help="The best if left out.")] = None,
    sequences: Annotated[int, typer.Option(help="Rollouts of one training step.")] = 2048,
    length: Annotated[int, typer.Option(help="Tokens of a rollout, prompt and response.")] = 4096,
    concurrent: Annotated[int | None, typer.Option(help="Per rollout server; as many as fit if left out.")] = None,
    rollout: Annotated[
        str, typer.Option(help="Servers on these GPUs in turns with the learner, or resident beside it, or elsewhere.")
    ] = "turns",
    fp8: Annotated[bool, typer.Option("--fp8", help="Linear layers of the learner in FP8.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the parallel layouts that fit, with memory per GPU and estimated step time, and pick one."""
    from rzero_mega.commands import plan as command
    from rzero_mega.planning.request import PlanRequest

    request = PlanRequest.from_options(
        model=model,
        gpus=gpus,
        gpu=gpu,
        gpus_per_node=gpus_per_node,
        tokens_per_micro_batch=tokens_per_micro_batch,
        sequences=sequences,
        length=length,
        concurrent=concurrent,
        rollout=rollout,
        fp8=fp8,
    )
    if as_json:
        typer.echo(json.dumps(command.as_json(request), indent=2))
    else:
        command.show(request, model)


@app.command("config")
def show_config(
    recipe: Annotated[str | None, typer.Argument(help=RECIPE_HELP)] = None,
    overrides: Overrides = None,
    explained: Annotated[
        str | None, typer.Option("--explain", metavar="KEY", help="Say what a key means, and who sets it to what.")
    ] = None,
) -> None:
    """Print the resolved configuration, or explain one of its keys."""
    if explained is not None:
        from rzero_mega.config.explain import explain

        typer.echo(explain(explained, {recipe: _config(recipe, overrides)} if recipe else {}))
        return
    if recipe is None:
        raise UserError("config: needs a recipe, or --explain KEY")
    typer.echo(to_yaml(_config(recipe, overrides)), nl=False)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point: a UserError is one line and exit code 2, an interruption 130."""
    if is_rank():
        die_with_parent()
    _quiet_libraries()
    _show_log()
    hold_requests()
    interruption = Interruption()
    try:
        app()
    except UserError as error:
        if type(error) is UserError:
            print(f"rzero-mega: {' '.join(str(error).split())}", file=sys.stderr)
        _leave(2)
    except Stopped as stopped:
        if str(stopped):
            print(f"rzero-mega: {stopped}", file=sys.stderr)
        _leave(STOPPED_EXIT_CODE)
    except BaseException:
        if not interruption.came:
            raise
        if not is_rank():
            print("rzero-mega: interrupted; the same command goes on from here", file=sys.stderr)
        _leave(INTERRUPTED_EXIT_CODE)


class Interruption:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, so that locks, workers and W&B are closed on the way out.

    What arrives at the top may be another error that the interruption caused, in this rank or in a peer: `came` tells.
    A second one leaves at once: a rank gets SIGTERM from its launcher while it handles the terminal's Ctrl-C, at any
    instruction and so outside every handler too. Only a launcher's second SIGTERM is nothing new: Slurm sends several,
    and its ranks are to be ended first.
    """

    def __init__(self) -> None:
        self.came = False
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt
        if is_rank() or number == signal.SIGINT:
            os._exit(INTERRUPTED_EXIT_CODE)


def _leave(code: int) -> NoReturn:
    # Peers may wait in a collective: a destructor that waits for them in turn would never return.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _quiet_libraries() -> None:
    """Megatron-core, transformers and others warn at import of what is missing or deprecated in them."""
    warnings.filterwarnings("ignore", module=r"(megatron|transformers|torch)\b.*")
    logging.getLogger("megatron").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


class _Lines(logging.Handler):
    """Prints records as they are: on standard output, from a warning up on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout, flush=True)


def _show_log() -> None:
    """Print what the package's loggers tell, and nothing of it twice: libraries may have handlers at the root."""
    logger = logging.getLogger("rzero_mega")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _config(recipe: str, overrides: list[str] | None, more: list[str] | None = None) -> Config:
    config: Config = load_recipe(recipe, [*(overrides or []), *(more or [])])
    return config


def _start(config: Config, work: Callable[[StopRequest], None]) -> None:
    """Check what can be checked, then do `work` here, or in as many processes as the learner wants."""
    if not is_rank():
        from rzero_mega.commands.preflight import preflight

        preflight(config)
    _spread(config, work)


def _spread(config: Config, work: Callable[[StopRequest], None]) -> None:
    stop = StopRequest()
    if not is_rank() and config.learner.processes > 1:
        code = launch(sys.argv[1:], config.learner.processes, stop)
        if code:
            _leave(code)
        return
    work(stop)


def _run_all(config: Config, stop: StopRequest) -> None:
    from rzero_mega.phases.runner import run_all

    run_all(config, stop)


def _run_phase(config: Config, iteration: int, name: str, stop: StopRequest) -> None:
    from rzero_mega.phases.runner import run_phase

    run_phase(config, iteration, name, stop)


def _open(run: Path | None) -> RunDirectory:
    return RunDirectory.open_existing(run) if run is not None else RunDirectory.latest(Path("runs"))


def _print_plan(config: Config) -> None:
    from rzero_mega.coevolution.plan import iteration_plan

    typer.echo(to_yaml(config), nl=False)
    typer.echo(f"\n# run directory: {run_path(config)}")
    for plan in iteration_plan(config):
        sources = ", ".join(map(str, plan.sources))
        typer.echo(f"# {plan.iteration}/{plan.name}: {sources} -> {plan.output.name}")
