"""Where files of weights go: the user's folder, this machine's, or the run's own for servers on other nodes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, WeightsConfig
from rzero_mega.rollout.sglang.nodes.job_files import JobNode
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.weights.transports.choice import SyncFacts

ELSEWHERE = SyncFacts("cuda", "cuda", same_host=False, shared_gpus=True)


def pool(tmp_path: Path, folder: Path | None = None) -> ServerPool:
    placement = Placement(2, (range(1), range(1)), (ServerPlace(0, 0), ServerPlace(1, 0)), shared_gpus=True)
    weights = WeightsConfig(folder=None if folder is None else str(folder))
    return ServerPool(RolloutConfig(engine="sglang"), weights, placement, JobNode(tmp_path, 0), tmp_path / "servers")


def test_servers_on_other_nodes_read_a_folder_of_the_run_s_own_and_a_killed_attempt_s_files_go(tmp_path: Path) -> None:
    left = tmp_path / "servers" / "solver-updates" / "weights-x" / "bucket-00000.safetensors"
    left.parent.mkdir(parents=True)
    left.touch()
    found = [pool(tmp_path)._folder_of_updates(role, ELSEWHERE) for role in ("solver", "challenger")]
    assert found == [tmp_path / "servers" / "solver-updates", tmp_path / "servers" / "challenger-updates"]
    assert not left.exists()


@pytest.mark.parametrize("same_host", [True, False])
def test_a_folder_that_the_user_names_is_taken(same_host: bool, tmp_path: Path) -> None:
    found = pool(tmp_path, tmp_path / "fast")._folder_of_updates("solver", SyncFacts("cuda", "cpu", same_host))
    assert found.parent == tmp_path / "fast" and found.name.endswith("-solver")


def test_on_one_machine_files_go_to_its_temporary_folder(tmp_path: Path) -> None:
    found = pool(tmp_path)._folder_of_updates("solver", SyncFacts("cuda", "cpu", same_host=True))
    assert found.parent == Path(tempfile.gettempdir())
