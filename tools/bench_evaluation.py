"""Evaluation throughput: all benchmarks in one queue against one benchmark after the other.

    python -m tools.bench_evaluation [--replicas 2] [--problems 24] [--repeats 3]

Real SGLang servers on this machine's CPU with the nano base, the same items either way, in one process; the two ways
take turns. The benchmarks differ in their longest answers, as real ones do, and at this temperature some answers do
reach that end: a benchmark's last answers then leave servers idle, unless others wait in the same queue.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rzero_mega.config import Config, load_config
from rzero_mega.domains.arithmetic.expressions import held_out_set
from rzero_mega.evaluation.predictions import Response
from rzero_mega.phases.asking_queue import asks_of, responses_to
from rzero_mega.phases.context import InferenceContext, load_encoder, new_grader, open_server_pool
from rzero_mega.rollout.protocol import RolloutEngine
from rzero_mega.scratch import temporary_folder
from rzero_mega.terminal import say
from rzero_mega.tracking.progress import Progress
from rzero_mega.weights.base_model import resolve_base_model

LIMITS = (32, 64, 64, 128, 192, 224)
TEMPERATURE = 1.3


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--running", type=int, default=16, help="sequences that a server decodes at a time")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with temporary_folder("bench_evaluation") as folder:
        files = [_benchmark(folder, n, limit, arguments.problems, arguments.samples) for n, limit in enumerate(LIMITS)]
        settings = [
            "rollout.engine=sglang",
            f"rollout.sglang.replicas={arguments.replicas}",
            f"rollout.sglang.max_running_requests={arguments.running}",
            f"run.root={folder}",
        ]
        config = load_config(["paper", "nano"], ["learner.processes=1", *settings])
        _compare(config, files, folder, arguments.repeats)


def _benchmark(folder: Path, number: int, limit: int, problems: int, samples: int) -> str:
    chosen = [problem for problem in held_out_set() if problem.level >= 3][number * problems : (number + 1) * problems]
    rows = [json.dumps({"question": problem.expression, "answer": problem.answer}) for problem in chosen]
    (folder / f"rows{number}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    path = folder / f"bench{number}.yaml"
    path.write_text(
        f"title: B\ngroup: other\nquestion: ['{{question}}']\nanswer: [answer]\nanswer_form: plain\n"
        f"reading: mathematics\nfile: rows{number}.jsonl\n"
        f"protocol: {{samples: {samples}, temperature: {TEMPERATURE}, max_new_tokens: {limit}}}\n",
        encoding="utf-8",
    )
    return str(path)


def _compare(config: Config, files: Sequence[str], folder: Path, repeats: int) -> None:
    model = resolve_base_model(config.model, folder)
    ways = {"one after the other": [[file] for file in files], "one queue": [list(files)]}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    tokens: dict[str, list[int]] = {way: [] for way in ways}
    with open_server_pool(config, folder / "servers") as pool, new_grader(config) as grader:
        encoder = load_encoder(model)

        def context(names: Sequence[str]) -> InferenceContext:
            config.evaluation.benchmarks = list(names)
            return InferenceContext(config, encoder, grader, pool)

        solver = context(files).engine("solver", model)
        _ask(context(files[:1]), solver)  # the servers are started, and warm
        for _ in range(repeats):
            for way, queues in ways.items():
                began = time.perf_counter()
                found = [response for names in queues for response in _ask(context(names), solver)]
                seconds[way].append(time.perf_counter() - began)
                tokens[way].append(sum(response.tokens for response in found))
        answers = len(found)
    say(f"{len(files)} benchmarks, {answers} answers, {repeats} repeats; seconds and tokens are medians")
    say("| way | seconds | least to most | tokens | tokens/s |")
    say("|---|---|---|---|---|")
    for way in ways:
        took, count = median(seconds[way]), median(tokens[way])
        say(
            f"| {way} | {took:.1f} | {min(seconds[way]):.1f} to {max(seconds[way]):.1f} | {count:,.0f} "
            f"| {count / took:,.0f} |"
        )
    before, after = (median(seconds[way]) for way in ways)
    say(f"one queue is {before / after:.2f} times as fast")


def _ask(ctx: InferenceContext, solver: RolloutEngine) -> list[Response]:
    with Progress("bench", 1, writer=False) as progress, progress.phase(0, "evaluate", 100) as bar:
        return responses_to(ctx, solver, asks_of(ctx, solver.context), None, bar)


if __name__ == "__main__":
    main()
