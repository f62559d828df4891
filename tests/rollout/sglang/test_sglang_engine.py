"""SGLang's servers as an engine: the contract, lost servers, stale weights."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, SamplingConfig, SglangConfig, VerifyConfig, WeightsConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.partial import continued, left_to_draw, usable
from rzero_mega.rollout.protocol import FinishReason, Request, Sample, Whole
from rzero_mega.rollout.sglang.pool.engine import SglangEngine
from rzero_mega.rollout.sglang.pool.role_servers import Replica
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.server.process import ServerProcess
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.shape import read_shape
from rzero_mega.weights.sources import FolderWeights
from tests.rollout.contract import (
    EngineFor,
    ModelFolder,
    RolloutContract,
    largest_logprob_error,
    prompt,
    source_of,
    weights_of,
)
from tests.rollout.sglang.stand_in import roles_awake

pytestmark = pytest.mark.sglang

MakePool = Callable[..., ServerPool]


@pytest.fixture(scope="module")
def make_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePool]:
    """Pools by name, made once and ended together."""
    if importlib.util.find_spec("sglang") is None:
        pytest.skip("SGLang is not installed: make sglang-cpu")
    pools: dict[str, ServerPool] = {}

    def make(name: str, sync: str = "auto", **sglang: Any) -> ServerPool:
        if name not in pools:
            config = SglangConfig(max_total_tokens=20_000, start_timeout_s=300.0, **sglang)
            pools[name] = ServerPool(
                RolloutConfig(engine="sglang", dtype="float32", sglang=config),
                WeightsConfig(sync=sync, bucket_mb=1, verify=VerifyConfig()),
                Placement(1, (range(1),), (ServerPlace(0, 0),) * config.replicas, shared_gpus=True),
                None,
                tmp_path_factory.mktemp(name),
            )
        return pools[name]

    try:
        yield make
    finally:
        for server_pool in pools.values():
            server_pool.close()


class TestSglang(RolloutContract):
    keeps_old_weights = False

    @pytest.fixture
    def engine_for(self, make_pool: MakePool) -> EngineFor:
        """Every engine is a new one on the servers of the ones before: their weights are replaced."""
        server_pool = make_pool("contract")
        return lambda folder: server_pool.engine("solver", folder)


def replicas_of(server_pool: ServerPool, role: str = "solver") -> list[Replica]:
    return server_pool.roles[role].all()


def many(samples: int, tokens: int) -> list[Request]:
    return [Request(f"r{i}", prompt(4, i), 1, SamplingConfig(max_new_tokens=tokens)) for i in range(samples)]


LONG = 600


def heavy_tailed(units: int) -> list[list[Request]]:
    """Two samples of a prompt each: eight tokens, and of every eighth LONG."""
    limits = [8 if i % 8 else LONG for i in range(units)]
    return [[Request(f"u{i}", prompt(4, i), 2, SamplingConfig(max_new_tokens=n))] for i, n in enumerate(limits)]


def until(enough: int) -> Whole:
    """Until so many units are whole."""
    whole: list[int] = []

    def more(number: int) -> bool:
        whole.append(number)
        return len(whole) < enough

    return more


def kill(replica: Replica) -> None:
    """The whole server at once, as a node that loses power."""
    for pid in pids(replica):
        os.kill(pid, signal.SIGKILL)


def stop_scheduler(replica: Replica) -> None:
    for pid in pids(replica):
        if "scheduler" in " ".join(psutil.Process(pid).cmdline()):
            os.kill(pid, signal.SIGSTOP)


def pids(replica: Replica) -> list[int]:
    assert isinstance(replica.server, ServerProcess)
    return replica.server.pids()


class TestTwoReplicas:
    """One server_pool of two servers, which the tests harm one after another."""

    @pytest.fixture
    def server_pool(self, make_pool: MakePool) -> ServerPool:
        return make_pool("pair", sync="disk", replicas=2, attempts=6)

    @pytest.fixture
    def folder(self, model_folder: ModelFolder) -> Path:
        return model_folder("qwen3")

    @pytest.mark.slow
    def test_both_servers_draw_and_both_get_new_weights(
        self, server_pool: ServerPool, folder: Path, model_folder: ModelFolder
    ) -> None:
        engine, other = server_pool.engine("solver", folder), model_folder("qwen3", seed=1)
        assert len(engine.generate(many(40, 8))) == 40
        engine.update_weights(source_of(weights_of(other)), version=1)
        assert largest_logprob_error(other, engine.generate(many(40, 8))) <= 1e-5
        for replica in replicas_of(server_pool):
            log = replica.server.log.read_text()
            assert log.count("POST /generate") > 1

    def test_what_is_unfinished_at_enough_is_stopped_and_goes_on_under_the_next_weights(
        self, server_pool: ServerPool, folder: Path, model_folder: ModelFolder
    ) -> None:
        engine, other = server_pool.engine("solver", folder), model_folder("qwen3", seed=1)
        units = heavy_tailed(64)
        first = engine.generate_until(units, until(50))
        samples = [sample for unit in first for sample in unit]
        cut = [sample for sample in samples if sample.finish is FinishReason.ABORT]
        assert cut and all(len(sample.tokens) < LONG for sample in cut)
        assert largest_logprob_error(folder, [sample for sample in samples if sample.tokens]) <= 1e-5
        engine.update_weights(source_of(weights_of(other)), version=1)
        begun = [usable(there, unit[0], engine.context) for unit, there in zip(units, first, strict=True)]
        left = [left_to_draw(unit[0], there) for unit, there in zip(units, begun, strict=True)]
        second = engine.generate_until(left, until(len(units)))
        assert largest_logprob_error(other, [sample for unit in second for sample in unit]) <= 1e-5
        whole = [continued(unit[0], *parts) for unit, *parts in zip(units, begun, second, strict=True)]
        joined = [sample for group in whole for sample in group]
        assert [(s.key, s.index) for s in joined] == [(u[0].key, i) for u in units for i in range(u[0].n)]
        assert all(s.finish is not FinishReason.ABORT and len(s.tokens) == len(s.logprobs) <= LONG for s in joined)
        went_on = [sample for sample in joined if sample.earlier]
        assert went_on and {(s.oldest_version, s.weight_version) for s in went_on} == {(0, 1)}

    def test_a_server_killed_when_it_is_told_to_stop_costs_what_it_had_and_nothing_is_there_twice(
        self, server_pool: ServerPool, folder: Path
    ) -> None:
        engine = server_pool.engine("solver", folder)
        victim, told = replicas_of(server_pool)[0], until(50)

        def kill_at_enough(number: int) -> bool:
            more = told(number)
            if not more:
                kill(victim)
            return more

        found = engine.generate_until(heavy_tailed(64), kill_at_enough)
        there = [(sample.key, sample.index) for unit in found for sample in unit]
        assert len(there) == len(set(there)) >= 50
        wait_for_all(engine, server_pool)

    def test_what_is_decided_is_aborted_on_its_server_and_everything_else_drawn_to_its_end(
        self, server_pool: ServerPool, folder: Path
    ) -> None:
        engine = server_pool.engine("solver", folder)
        whole: dict[int, list[Sample]] = {}

        def arrived(number: int, samples: list[Sample]) -> bool:
            whole[number] = samples
            return True

        # Lengths are by chance: one token of the vocabulary ends an answer.
        units = [[Request(f"u{i}", prompt(4, i), 3, SamplingConfig(max_new_tokens=LONG))] for i in range(16)]
        decided_by = {f"u{i}" for i in range(0, 16, 2)}
        told: list[str] = []

        def decided(sample: Sample) -> bool:
            told.append(sample.key)
            return sample.key in decided_by

        engine.generate_needed(units, arrived, decided)
        assert sorted(whole) == list(range(16))
        for number, samples in whole.items():
            assert [sample.index for sample in samples] == [0, 1, 2]
            aborted = [sample for sample in samples if sample.finish is FinishReason.ABORT]
            assert len(aborted) <= (2 if f"u{number}" in decided_by else 0)
            assert all(len(sample.tokens) < LONG for sample in aborted)
        assert any(sample.finish is FinishReason.ABORT for samples in whole.values() for sample in samples)
        assert max(told.count(f"u{i}") for i in range(0, 16, 2)) == 1
        wait_for_all(engine, server_pool)

    def test_a_server_killed_while_it_draws_loses_no_sample_and_is_replaced_with_the_present_weights(
        self,
        server_pool: ServerPool,
        folder: Path,
        model_folder: ModelFolder,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        engine, other = server_pool.engine("solver", folder), model_folder("qwen3", seed=1)
        engine.update_weights(source_of(weights_of(other)), version=3)
        victim = replicas_of(server_pool)[0]
        before = set(pids(victim))
        threading.Timer(0.3, kill, [victim]).start()
        samples: list[Sample] = []
        requests = many(2000, 40)
        samples = engine.generate(requests)
        assert [s.key for s in samples] == [r.key for r in requests]
        assert {s.weight_version for s in samples} == {3}
        assert any("replica 0" in line and "starting another" in line for line in caplog.messages)
        wait_for_all(engine, server_pool)
        assert not before & set(pids(replicas_of(server_pool)[0]))
        assert largest_logprob_error(other, engine.generate(many(80, 8))) <= 1e-5

    @pytest.mark.slow
    def test_without_any_server_left_both_are_replaced(
        self, server_pool: ServerPool, folder: Path, model_folder: ModelFolder
    ) -> None:
        engine, other = server_pool.engine("solver", folder), model_folder("qwen3", seed=1)
        engine.update_weights(source_of(weights_of(other)), version=4)
        for replica in replicas_of(server_pool):
            kill(replica)
        samples = engine.generate(many(12, 8))
        assert {s.weight_version for s in samples} == {4}
        assert largest_logprob_error(other, samples) <= 1e-5

    def test_a_server_that_missed_an_update_is_named_by_its_samples(
        self, server_pool: ServerPool, folder: Path, model_folder: ModelFolder
    ) -> None:
        engine = server_pool.engine("solver", folder)
        engine.update_weights(source_of(weights_of(folder)), version=5)
        wait_for_all(engine, server_pool)
        stale = replicas_of(server_pool)[1]
        stale.client.post("update_weight_version", {"new_version": "solver-1-4", "abort_all_requests": False})
        assert stale.client.weight_version() == "solver-1-4"
        with pytest.raises(UserError, match=r"replica 1 .*solver-1-4.*missed an update"):
            engine.generate(many(40, 4))

    def test_a_server_that_dies_between_two_sources_of_votes_comes_back_with_the_weights_of_the_second(
        self, server_pool: ServerPool, folder: Path, model_folder: ModelFolder
    ) -> None:
        other = model_folder("qwen3", seed=1)
        first = server_pool.engine("solver", folder)
        first.prepare()
        wait_for_all(first, server_pool)
        assert {replica.client.weight_version() for replica in replicas_of(server_pool)} == {first.version.on_server}
        kill(replicas_of(server_pool)[0])
        second = server_pool.engine("solver", other)
        second.prepare()
        assert largest_logprob_error(other, second.generate(many(40, 8))) <= 1e-5
        # The server in its place starts on the folder that the role's first servers started on.
        wait_for_all(second, server_pool)
        assert {replica.client.weight_version() for replica in replicas_of(server_pool)} == {second.version.on_server}
        assert largest_logprob_error(other, second.generate(many(80, 8))) <= 1e-5

    def test_a_source_whose_weights_do_not_arrive_is_named_and_nobody_votes_for_it(
        self, server_pool: ServerPool, folder: Path, model_folder: ModelFolder, tmp_path: Path
    ) -> None:
        damaged = tmp_path / "model"
        shutil.copytree(model_folder("qwen3", seed=1), damaged)
        engine = server_pool.engine("solver", damaged)
        weights = damaged / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-64])
        for call in (engine.prepare, lambda: engine.generate(many(4, 4))):
            with pytest.raises(UserError, match=r"model\.safetensors"):
                call()
        sound = server_pool.engine("solver", folder)
        sound.prepare()
        assert largest_logprob_error(folder, sound.generate(many(40, 8))) <= 1e-5

    def test_what_a_server_aborts_is_drawn_again(self, server_pool: ServerPool, folder: Path) -> None:
        engine = server_pool.engine("solver", folder)
        wait_for_all(engine, server_pool)
        client = replicas_of(server_pool)[0].client
        threading.Timer(0.3, client.abort_all).start()
        samples = engine.generate(many(1500, 40))
        assert len(samples) == 1500
        assert all(s.finish.value != "abort" for s in samples)


@pytest.mark.slow
class TestHangs:
    """One server whose scheduler is stopped by a signal: it listens, says that it is ready, and answers nothing."""

    @pytest.fixture
    def server_pool(self, make_pool: MakePool) -> ServerPool:
        return make_pool("hangs", sync="collective", attempts=6, request_timeout_s=8.0, hang_timeout_s=16.0)

    @pytest.mark.parametrize("moment", ["drawing", "updating"])
    def test_a_server_that_hangs_is_named_and_replaced_and_nothing_is_lost(
        self, moment: str, server_pool: ServerPool, model_folder: ModelFolder, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder, other = model_folder("qwen3"), model_folder("qwen3", seed=1)
        engine = server_pool.engine("solver", folder)
        assert len(engine.generate(many(4, 4))) == 4
        stopped = replicas_of(server_pool)[0]
        if moment == "updating":
            stop_scheduler(stopped)
            engine.update_weights(source_of(weights_of(other)), version=1)
        else:
            threading.Timer(0.3, stop_scheduler, [stopped]).start()
        samples = engine.generate(many(400, 30))
        assert len(samples) == 400
        assert largest_logprob_error(other if moment == "updating" else folder, samples[:8]) <= 1e-5
        said = "generate: no sign of life for 16 s" if moment == "drawing" else ": no answer in 16 s"
        assert any(line.startswith("solver replica 0 (http://127.0.0.1:") and said in line for line in caplog.messages)


@pytest.mark.slow
class TestTwoRoles:
    """Servers of two roles that give their memory back in turns, with SGLang's calls; on a CPU none becomes free."""

    @pytest.fixture
    def server_pool(self, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> ServerPool:
        server_pool = make_pool("turns")
        monkeypatch.setattr(server_pool, "_saves_memory", True)
        return server_pool

    def test_each_speaks_for_its_own_weights_whenever_it_is_its_turn(
        self, server_pool: ServerPool, model_folder: ModelFolder
    ) -> None:
        folders = {"challenger": model_folder("qwen3"), "solver": model_folder("qwen3", seed=1)}
        engines = {role: server_pool.engine(role, folder) for role, folder in folders.items()}
        assert roles_awake(server_pool.roles) == {"solver"}
        for role in ("challenger", "solver", "challenger"):
            assert largest_logprob_error(folders[role], engines[role].generate(many(12, 8))) <= 1e-5
            assert roles_awake(server_pool.roles) == {role}
        server_pool.rest()
        assert roles_awake(server_pool.roles) == set()

        other = model_folder("qwen3", seed=2)
        engines["solver"].update_weights(source_of(weights_of(other)), version=1)
        assert replicas_of(server_pool)[0].released == {"kv_cache", "cuda_graph"}
        assert largest_logprob_error(other, engines["solver"].generate(many(12, 8))) <= 1e-5

        asleep = replicas_of(server_pool, "challenger")[0]
        kill(asleep)
        server_pool.rest()
        assert largest_logprob_error(folders["challenger"], engines["challenger"].generate(many(12, 8))) <= 1e-5
        assert replicas_of(server_pool, "challenger")[0] is not asleep
        assert roles_awake(server_pool.roles) == {"challenger"}

    def test_the_second_role_answers_what_the_first_one_says_while_it_speaks(
        self, server_pool: ServerPool, model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        greedy = SamplingConfig(temperature=0.0, max_new_tokens=8)
        leader = server_pool.engine("challenger", model_folder("qwen3"))
        follower = server_pool.engine("solver", model_folder("qwen3", seed=1))
        assert not leader.can_lead(follower)
        monkeypatch.setattr(server_pool._rollout.sglang, "roles", "together")
        assert leader.can_lead(follower) and not leader.can_lead(leader)
        killed: list[Replica] = []

        def about(position: int, sample: Sample) -> Request | None:
            if position == 3:
                killed.append(replicas_of(server_pool)[0])
                kill(killed[0])
            return (
                None
                if position % 4 == 0
                else Request(str(position), (*sample.prompt_tokens, *sample.tokens), 2, greedy)
            )

        requests = [Request(f"r{i}", prompt(5 + i, i), 1, SamplingConfig(max_new_tokens=6)) for i in range(10)]
        samples, found = leader.generate_followed(requests, follower, about)
        assert [sample.key for sample in samples] == [request.key for request in requests]
        assert sorted(found) == [i for i in range(10) if i % 4]
        for position, votes in found.items():
            said = (*samples[position].prompt_tokens, *samples[position].tokens)
            alone = follower.generate([Request(str(position), said, 2, greedy)])
            assert [(vote.index, vote.tokens) for vote in votes] == [(one.index, one.tokens) for one in alone]
        assert roles_awake(server_pool.roles) == {"challenger", "solver"}
        assert replicas_of(server_pool)[0] is not killed[0]


def wait_for_all(engine: SglangEngine, server_pool: ServerPool) -> None:
    """Until both servers have the present weights; one that has just ended is found out first."""
    deadline = time.monotonic() + 300
    engine.prepare()
    while len(server_pool.roles["solver"].serving()) < 2:
        assert time.monotonic() < deadline
        time.sleep(1)
        engine.generate(many(1, 1))


@pytest.mark.slow
def test_a_server_that_loaded_other_weights_than_the_folder_holds_is_named_at_its_start(
    make_pool: MakePool, model_folder: ModelFolder, tmp_path: Path
) -> None:
    shutil.copytree(model_folder("qwen3"), tmp_path / "model")
    server_pool = make_pool("changed")

    class Tampering(FolderWeights):
        def __iter__(self) -> Iterator[Bucket]:
            for bucket in super().__iter__():
                bucket.data[-1] ^= 1
                yield bucket

    source = Tampering(tmp_path / "model", read_shape(tmp_path / "model"), 1 << 30)
    with pytest.raises(UserError, match=r"solver replica 0 .* differ from what was sent: .*model\."):
        server_pool._bring_up("solver", source, 48, "solver-1-0")
        server_pool.await_first("solver")
