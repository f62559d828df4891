"""What lies in a job's folder is its owner's, whatever the umask, and whatever was put there before."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.own_file import append_to, own_folder, read_secret, write_secret
from rzero_mega.run.job import JobFolder, JobPlace, Leader, read_end
from rzero_mega.run.job_logs import log_file


@pytest.fixture(autouse=True, params=[0o000, 0o002, 0o022, 0o077], ids=lambda mask: f"umask{mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def job(run: Path) -> JobFolder:
    return JobFolder(run, JobPlace("17", 0, 0, 1, "n1"))


def test_nobody_else_may_write_into_a_job_s_folder(tmp_path: Path) -> None:
    folder = job(tmp_path)
    folder.publish_leader(Leader("host", 1))
    folder.note_failed_node()
    assert mode(folder.path / "key") == 0o600
    for path in (folder.path, folder.path.parent, folder.path.parent / "failed_nodes"):
        assert not mode(path) & 0o022


def test_a_folder_made_beforehand_for_everybody_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(0o777)
    own_folder(tmp_path / "x")
    assert mode(tmp_path / "x") == 0o755


@pytest.mark.parametrize("what", ["link", "dangling", "file", "foreign"])
def test_what_is_not_the_run_s_own_folder_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "jobs"
    if what == "file":
        path.touch()
    elif what == "foreign":
        if os.geteuid():
            pytest.skip("only root can give a folder away")
        path.mkdir()
        os.chown(path, 12345, -1)
    else:
        (tmp_path / "elsewhere").mkdir()
        path.symlink_to("elsewhere" if what == "link" else "nowhere")
    with pytest.raises(UserError, match=r"jobs: is no folder of this run's owner"):
        job(tmp_path)


def test_a_key_made_beforehand_is_never_used(tmp_path: Path) -> None:
    folder = job(tmp_path)
    secret, target = folder.path / "key", tmp_path / "theirs"
    target.write_text("theirs")
    target.chmod(0o666)
    for prepare in (lambda: secret.symlink_to(target), lambda: os.link(target, secret), lambda: secret.write_text("x")):
        secret.unlink(missing_ok=True)
        prepare()
        key = folder.publish_leader(Leader("host", 1))
        assert read_secret(secret) == key and mode(secret) == 0o600 and not secret.is_symlink()
        assert target.read_text() == "theirs"


def test_a_key_that_others_could_have_written_is_not_believed(tmp_path: Path) -> None:
    folder = job(tmp_path)
    folder.publish_leader(Leader("host", 1))
    key = folder.path / "key"
    key.chmod(0o666)
    with pytest.raises(UserError, match="others may read or write it"):
        folder.find_leader(1.0, lambda: True)
    write_secret(tmp_path / "elsewhere", "k")
    key.unlink()
    key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="key: cannot be read"):
        folder.find_leader(1.0, lambda: True)
    key.unlink()
    os.mkfifo(key, 0o600)
    with pytest.raises(UserError, match="others may read or write it"):
        folder.find_leader(1.0, lambda: True)


def test_a_log_follows_no_link(tmp_path: Path) -> None:
    target = tmp_path / "profile"
    target.write_text("mine\n")
    log = tmp_path / "rank-0000.log"
    log.symlink_to(target)
    with pytest.raises(UserError, match=r"rank-0000\.log: is a link"):
        append_to(log)
    log.unlink()
    log.symlink_to(tmp_path / "new")
    with pytest.raises(UserError, match=r"rank-0000\.log: is a link"):
        append_to(log)
    assert target.read_text() == "mine\n" and not (tmp_path / "new").exists()
    log.unlink()
    for text in (b"a", b"b"):
        with append_to(log) as file:
            file.write(text)
    assert log.read_bytes() == b"ab" and not mode(log) & 0o022


def test_a_log_outside_of_the_run_is_not_shown(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "secret").write_text("s3cr3t")
    folder = job(run)
    (folder.path / "rank-0000.log").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="leads out of the run"):
        log_file(run, None, 0)
    (folder.path / "rank-0000.log").unlink()
    (folder.path / "rank-0001.log").write_text("own")
    (folder.path / "rank-0000.log").symlink_to("rank-0001.log")
    assert log_file(run, None, 0).read_text() == "own"
    # A whole job's folder elsewhere.
    other = tmp_path / "other"
    other.mkdir()
    (other / "rank-0000.log").write_text("s3cr3t")
    (run / "jobs" / "18-0").symlink_to(other)
    with pytest.raises(UserError, match="leads out of the run"):
        log_file(run, "18", 0)


def test_an_end_that_is_a_link_or_no_end_is_none(tmp_path: Path) -> None:
    folder = job(tmp_path).path
    (tmp_path / "other.json").write_text('{"code": 0, "why": ""}')
    (folder / "ended.json").symlink_to(tmp_path / "other.json")
    assert read_end(folder) is None
    for text in (
        '{"code": 1e999, "why": ""}',
        '{"code": true, "why": ""}',
        '{"code": 1, "why": {}}',
        "[]",
        '{"code": 1',
    ):
        (folder / "ended.json").unlink()
        (folder / "ended.json").write_text(text)
        with pytest.raises(UserError, match=r"ended\.json: (malformed|not readable)"):
            read_end(folder)
