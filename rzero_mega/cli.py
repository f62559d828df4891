"""The command `rzero-mega`: reads arguments and calls the room that does the work."""

from __future__ import annotations

import json
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rzero_mega import __version__
from rzero_mega.commands.process import INTERRUPTED_EXIT_CODE, leave, run_process
from rzero_mega.commands.usage import CommandLineError, complaint, complete_recipe, complete_run, complete_setting
from rzero_mega.config import Config, ablation_names, to_yaml
from rzero_mega.errors import UserError
from rzero_mega.recipes import grid_names, load_recipe, recipe_names
from rzero_mega.run import RunDirectory
from rzero_mega.run.job import local_place, place_from
from rzero_mega.terminal import say

app = typer.Typer(
    help="R-Zero: a Challenger and a Solver grown from one base model teach each other.",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

benchmarks_app = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(benchmarks_app, name="benchmarks")

RECIPE_HELP = f"A recipe ({', '.join(recipe_names())}) or a YAML file."
# Whatever layout the recipe has for training.
ONE_PROCESS = ["learner.processes=1", *(f"learner.layout.{size}=1" for size in ("tp", "pp", "vpp", "cp", "ep", "etp"))]
ONE_PROCESS += ["learner.layout.sequence_parallel=false"]
Recipe = Annotated[str, typer.Argument(help=RECIPE_HELP, autocompletion=complete_recipe)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value, for instance seed=1 learner.layout.tp=2", autocompletion=complete_setting),
]
Run = Annotated[
    Path | None,
    typer.Argument(help="A run directory; the latest under ./runs if left out.", autocompletion=complete_run),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    recipe: Recipe,
    overrides: Overrides = None,
    ablation: Annotated[str | None, typer.Option(metavar="NAME", help=f"One of {', '.join(ablation_names())}.")] = None,
    iteration: Annotated[int | None, typer.Option(help="This one alone; all of them if left out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print configuration and plan; start nothing.")] = False,
) -> None:
    """Run all iterations; the same command goes on with a run that was interrupted."""
    from rzero_mega.commands import run as command

    config = _config(recipe, overrides, [f"ablation={ablation}"] if ablation else [])
    if dry_run:
        say(command.dry_run(config, iteration))
    else:
        command.run_phases(config, iteration)


@app.command()
def phase(recipe: Recipe, iteration: int, name: str, overrides: Overrides = None) -> None:
    """Run one phase (challenger, questions, labels, verifier, critic, solver, evaluate) of one iteration."""
    from rzero_mega.commands.run import run_phases

    run_phases(_config(recipe, overrides), iteration, name)


@app.command()
def status(run: Run = None, as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """What each iteration brought, how long its phases took, and where its jobs stand."""
    from rzero_mega.commands.status import show_status

    show_status(_open(run), as_json)


@app.command()
def submit(
    recipe: Recipe,
    cluster: Annotated[Path | None, typer.Option(help="The cluster file; slurm/ has examples.")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print configuration, jobs and scripts; submit nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when no job is left; 0 if the run is finished.")] = False,
    local: Annotated[bool, typer.Option("--local", help="The same as processes here, without Slurm.")] = False,
    job_per: Annotated[str | None, typer.Option(help="iteration or phase; the cluster file's if left out.")] = None,
) -> None:
    """Submit to Slurm whatever the run still needs; the same command goes on where jobs are missing."""
    from rzero_mega.cluster import command
    from rzero_mega.commands.checks import check_start

    if local:
        config = _config(recipe, overrides)
        check_start(config)
        leave(command.run_here(config, dry_run, job_per))
    if cluster is None:
        raise UserError("--cluster: needed, a YAML file that describes the cluster; or --local to run here")
    site, check = command.read_cluster(cluster, job_per), partial(check_start, as_job=True)
    leave(command.submit(recipe, overrides or [], site, dry_run, wait, check))


@app.command()
def grid(
    file: Annotated[str, typer.Argument(help=f"A YAML file, or a grid of the package: {', '.join(grid_names())}.")],
    root: Annotated[Path | None, typer.Option(help="Its runs lie in a folder of its name below; ./runs.")] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="To Slurm: the cluster file, below whose root the runs lie.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many runs at a time on this machine.")] = 1,
    arm: Annotated[list[str] | None, typer.Option(help="Only this arm; may be given several times.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be given several times.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what each run is; start nothing.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Print what there is so far; start nothing.")] = False,
    form: Annotated[str, typer.Option("--format", help="Of the table: text, markdown or csv.")] = "text",
) -> None:
    """Run whatever a grid still needs, recipes under several seeds, and print one table with intervals."""
    from rzero_mega.commands import grid as command

    selection = command.Selection(tuple(arm or ()), tuple(seed or ()))
    command.check_form(form)
    where = command.root_of(root, cluster)
    if table:
        say(command.table(file, where, selection, form), end="")
    elif cluster is not None:
        from rzero_mega.commands.grid_jobs import submit_cells

        submit_cells(file, cluster, selection, dry_run)
    elif dry_run:
        say(command.dry_run(file, where, selection))
    else:
        leave(command.run_here(file, where, selection, jobs, form))


@app.command()
def logs(
    run: Run = None,
    rank: Annotated[int, typer.Option(help="Of the learner.")] = 0,
    job: Annotated[str | None, typer.Option(help="Slurm's job id; the last job if left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
) -> None:
    """Print what a rank told, in a job or on this machine."""
    from rzero_mega.run.job_logs import log_file, text_of

    opened = _open(run)
    for text in text_of(log_file(opened.path, job, rank), follow, opened.is_alive):
        say(text, end="")


@app.command()
def cancel(run: Run = None) -> None:
    """Cancel the jobs of a run, or end its process on this machine; the same command goes on later."""
    from rzero_mega.cluster import command

    say(command.cancel(_open(run)))


@app.command()
def sync(run: Run = None) -> None:
    """Send to W&B what jobs without internet have left in the run."""
    from rzero_mega.tracking.wandb_offline import sync_offline

    say(sync_offline(_open(run)))


@app.command(hidden=True)
def node(
    config_file: Path,
    iteration: int,
    name: Annotated[str | None, typer.Argument()] = None,
    local: Annotated[bool, typer.Option("--local")] = False,
) -> None:
    """What a job of an iteration, or of a phase, runs on each of its nodes; with --local, here, whatever Slurm says."""
    from rzero_mega.coevolution.stretch import Stretch
    from rzero_mega.commands.node import run_node

    host = socket.gethostname()
    place = local_place(host) if local else place_from(os.environ, host)
    leave(run_node(config_file, Stretch.named(iteration, name), place))


@app.command()
def report(
    run: Run = None, output: Annotated[Path | None, typer.Option(help="Default: report.html in the run.")] = None
) -> None:
    """Write the report, one self-contained HTML page."""
    from rzero_mega.commands import report as command

    say(command.report(_open(run), output))


@app.command()
def trace(
    run: Run = None, output: Annotated[Path | None, typer.Option(help="Default: trace.json in the run.")] = None
) -> None:
    """Write what the run did when as a trace for Perfetto: phases, steps, rollouts, training, updates."""
    from rzero_mega.commands.trace import write_trace

    say(write_trace(_open(run), output))


@app.command()
def verify(run: Run = None) -> None:
    """Read the whole run and say what of it is damaged, and what to redo."""
    from rzero_mega.commands.verify import verify_and_show

    say(verify_and_show(_open(run)))


@app.command()
def audit(
    run: Run = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Keys of labels.audit: its endpoint, shares, samples.")
    ] = None,
    iteration: Annotated[int | None, typer.Option(help="All that have labels if left out.")] = None,
) -> None:
    """Have a stronger model answer a share of the questions, and say how many labels are true."""
    from rzero_mega.commands.audit import audit_run

    audit_run(_open(run), iteration, overrides or [])


@app.command("eval")
def evaluate(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL... [KEY=VALUE]...",
            help="Models as model.path: a folder, a hub name, asset:NAME, gguf:PACKAGE; then overrides.",
            autocompletion=complete_setting,
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe whose prompts, sampling and benchmarks are used.")] = "nano",
    output: Annotated[
        Path | None, typer.Option(help="A folder that keeps predictions and scores; the same command goes on there.")
    ] = None,
    regraded: Annotated[
        Path | None,
        typer.Option("--regrade", metavar="FOLDER", help="Judge again what is kept there; no model, no GPU."),
    ] = None,
) -> None:
    """Score models on the benchmarks of a recipe, side by side, without training."""
    from rzero_mega.commands import kept_evaluation
    from rzero_mega.commands.checks import check_evaluation

    overrides = [text for text in arguments or [] if "=" in text]
    models = [text for text in arguments or [] if "=" not in text]
    if regraded is not None:
        if models or output is not None:
            raise UserError("--regrade: judges what is kept in its folder; name no model and no --output with it")
        kept_evaluation.regrade_and_say(regraded, _config(recipe, overrides))
        return
    if not models:
        raise UserError("eval: names no model; a folder, a hub name, asset:NAME or gguf:PACKAGE")
    configs = [_config(recipe, overrides, [f"model.path={model}", *ONE_PROCESS]) for model in models]
    for config in configs:
        check_evaluation(config)
    # It brings torch.
    from rzero_mega.commands.evaluate import evaluate_models

    kept_evaluation.say_evaluations(evaluate_models(configs, output))


@benchmarks_app.callback(invoke_without_command=True)
def benchmarks(
    context: typer.Context,
    data: Annotated[str | None, typer.Option(help="Folder with their data, as evaluation.data.")] = None,
) -> None:
    """List the benchmarks: size, protocol, where they come from, and whether their data is there."""
    if context.invoked_subcommand is None:
        from rzero_mega.commands.benchmarks import list_benchmarks

        list_benchmarks(data)


@benchmarks_app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="All that are on the hub if left out.")] = None,
    to: Annotated[Path, typer.Option(help="The folder, evaluation.data of runs.")] = Path("benchmarks"),
) -> None:
    """Get the data of benchmarks from the hub, pinned and with hashes, where there is internet."""
    from rzero_mega.commands.benchmarks import fetch_benchmarks
    from rzero_mega.evaluation.fetching import HuggingFace

    fetch_benchmarks(names or [], to, HuggingFace())


@app.command()
def export(
    run: Run = None,
    iteration: Annotated[int | None, typer.Option(help="The last that has one if left out.")] = None,
    role: Annotated[str, typer.Option(help="solver or challenger.")] = "solver",
    output: Annotated[Path | None, typer.Option(help="A new folder; RUN-ROLE-ITERATION here if left out.")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Of the base; what its own card says if left out.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="The base's name on the hub, where the run had a folder.")
    ] = None,
    push: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Send it to the Hugging Face hub too.")] = None,
    public: Annotated[bool, typer.Option("--public", help="A repository made for it; private if left out.")] = False,
) -> None:
    """Write a trained model into a folder of its own, with a card made from the run."""
    from rzero_mega.commands import export as command

    options = command.ExportOptions(role, iteration, output, licence, base_model, push, public)
    for line in command.export(_open(run), options):
        say(line)


@app.command()
def serve(
    target: Annotated[
        Path | None,
        typer.Argument(help="A run, or a model's folder; the latest run if left out.", autocompletion=complete_run),
    ] = None,
    overrides: Overrides = None,
    iteration: Annotated[int | None, typer.Option(help="The last that has a model if left out.")] = None,
    role: Annotated[str | None, typer.Option(help="solver or challenger; the Solver if left out.")] = None,
    host: Annotated[str, typer.Option(help="Others than loopback need a key in the environment.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 stands for any free one.")] = 30000,
) -> None:
    """Serve a trained model to programs that speak OpenAI's protocol, until Ctrl-C."""
    from rzero_mega.commands import serve as command

    command.serve(target, command.ServeOptions(host, port, role, iteration), overrides or [])


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, RUN@ITERATION, folders of eval --output; runs that differ in their seed alone are one column."
        ),
    ],
    form: Annotated[str, typer.Option("--format", help="text, markdown or csv.")] = "text",
) -> None:
    """The table of results with intervals: a run's iterations against its base, or several runs side by side."""
    from rzero_mega.commands.compare import show_comparison

    show_comparison(runs, form)


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(help="A Megatron checkpoint, or a model as model.path: a folder, a hub name, asset:NAME.")
    ],
    target: Annotated[Path, typer.Argument(help="The folder to write, in the other format.")],
    template: Annotated[
        str | None, typer.Option(help="For checkpoints: the model whose config.json and tokenizer are taken.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="bfloat16 or float32; the source's if left out.")] = None,
) -> None:
    """Convert between Hugging Face format and Megatron checkpoints; the same command goes on after a kill."""
    from rzero_mega.commands.convert import convert_and_show

    say(convert_and_show(source, target, template, dtype))


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(help="Of a failed update: ITERATION/PHASE/failures/step_... in a run.")],
    overrides: Overrides = None,
    model: Annotated[Path | None, typer.Option(help="Weights, where the folder holds none.")] = None,
) -> None:
    """Do a failed update again, also in another layout, and say where it goes wrong."""
    from rzero_mega.commands.replay import replay_and_show

    replay_and_show(folder, model, overrides or [])


@app.command()
def plan(
    overrides: Overrides = None,
    gpus: Annotated[int | None, typer.Option(help="How many GPUs the learner has.")] = None,
    model: Annotated[str | None, typer.Option(help="A known model, or a folder with a config.json.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Its model, rollouts and FP8; other options go over it.")] = None,
    gpu: Annotated[str, typer.Option(help="Their kind: A100-40GB, A100-80GB, H100, H200 or B200.")] = "H100",
    gpus_per_node: Annotated[int | None, typer.Option(help="How many NVLink joins: 8 if left out.")] = None,
    tokens_per_micro_batch: Annotated[int | None, typer.Option(help="The best if left out.")] = None,
    sequences: Annotated[int | None, typer.Option(help="Rollouts of one training step: 2560 if left out.")] = None,
    length: Annotated[int | None, typer.Option(help="Tokens of a rollout, prompt and response: 4096.")] = None,
    longest: Annotated[int | None, typer.Option(help="Tokens of the longest, which must have room: 12288.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Per rollout server; as many as fit if left out.")] = None,
    rollout: Annotated[str, typer.Option(help="Servers: in turns, or resident here, or elsewhere.")] = "turns",
    fp8: Annotated[bool, typer.Option("--fp8", help="Linear layers of the learner in FP8.")] = False,
    iteration: Annotated[bool, typer.Option("--iteration", help="Simulate an iteration of the recipe.")] = False,
    nodes: Annotated[int | None, typer.Option(help="With --iteration: the recipe spread over so many.")] = None,
    assumptions: Annotated[Path | None, typer.Option(help="With --iteration: a YAML file over the shipped.")] = None,
    fitted: Annotated[Path | None, typer.Option("--from", help="With --iteration: fit them to a run.")] = None,
    job_per: Annotated[str | None, typer.Option(help="With --iteration: iteration or phase, as of submit.")] = None,
    switches: Annotated[bool, typer.Option(help="With --iteration: what each change alone is worth.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the parallel layouts that fit, with memory per GPU and estimated step time, and pick one.

    With --iteration, simulate one of a recipe, or of the run --from which: seconds, GPU-hours, idle share by phase.
    """
    if recipe is None and (overrides or (iteration and not fitted)):
        raise UserError("--recipe: needed for overrides, and for an iteration that is not --from a run")
    config = None if recipe is None else _config(recipe, overrides)
    if iteration:
        from rzero_mega.commands.plan_iteration import simulate

        simulate(config, gpu, nodes, assumptions, fitted, job_per, switches, as_json)
        return
    from rzero_mega.commands import plan as command
    from rzero_mega.planning.request import PlanRequest

    if gpus is None:
        raise UserError("--gpus: needed, or --iteration")
    sizes = {"sequences": sequences, "length": length, "longest": longest, "concurrent": concurrent}
    micro_batch = {"gpus_per_node": gpus_per_node, "tokens_per_micro_batch": tokens_per_micro_batch}
    request = PlanRequest.from_options(
        model=model, gpus=gpus, gpu=gpu, rollout=rollout, fp8=fp8, recipe=config, **sizes, **micro_batch
    )
    if as_json:
        say(json.dumps(command.as_json(request), indent=2))
    else:
        command.show(request, model or recipe or "")


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

        say(explain(explained, {recipe: _config(recipe, overrides)} if recipe else {}))
        return
    if recipe is None:
        raise UserError("config: needs a recipe, or --explain KEY")
    say(to_yaml(_config(recipe, overrides)), end="")


@app.command()
def version() -> None:
    """Print the version."""
    say(__version__)


def main() -> None:
    """Entry point."""
    run_process(_command)


def _command() -> None:
    try:
        code = app(standalone_mode=False)
    except CommandLineError as error:
        if len(sys.argv) == 1:  # the help has been printed
            leave(2)
        commands = [
            info.name or getattr(info.callback, "__name__", "") for info in app.registered_commands if not info.hidden
        ]
        raise UserError(complaint(error, sys.argv[1:], commands)) from None
    if code == INTERRUPTED_EXIT_CODE:  # typer's way to say so, without a word
        raise KeyboardInterrupt
    if isinstance(code, int) and code:
        leave(code)


def _config(recipe: str, overrides: list[str] | None, more: list[str] | None = None) -> Config:
    config: Config = load_recipe(recipe, [*(overrides or []), *(more or [])])
    return config


def _open(run: Path | None) -> RunDirectory:
    return RunDirectory.open_existing(run) if run is not None else RunDirectory.latest(Path("runs"))
