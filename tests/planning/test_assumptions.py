"""The file of assumptions: every number has a source, one's own go over them, and what is wrong is a line."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from rzero_mega.errors import UserError
from rzero_mega.planning.assumptions import SECTIONS, read_assumptions, shipped


def test_every_number_that_is_shipped_has_a_source() -> None:
    keys = {f"{section}.{spec.name}" for section, kind in SECTIONS.items() for spec in fields(kind)}
    assert set(shipped().sources) == keys
    assert all(len(source) > 20 for source in shipped().sources.values())


def test_a_file_of_one_s_own_need_not_have_all(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {gemm_share: 0.4, link_share: {value: 0.5, source: nccl-tests}}\n")
    found = read_assumptions(path)
    assert (found.training.gemm_share, found.training.link_share) == (0.4, 0.5)
    assert found.training.memory_share == shipped().training.memory_share and found.decoding == shipped().decoding
    assert found.sources["training.gemm_share"] == str(path)
    assert found.sources["training.link_share"] == "nccl-tests"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainings: {gemm_share: 0.4}", "trainings: no such section"),
        ("training: {gemm: 0.4}", "training.gemm: no such number"),
        ("training: {gemm_share: fast}", "training.gemm_share: needs a number"),
        ("training: {gemm_share: .nan}", "training.gemm_share: needs a number"),
        ("training: {gemm_share: -1}", "training.gemm_share: needs a number"),
        ("training: {gemm_share: [1]}", "training.gemm_share: is no mapping"),
        ("training: {gemm_share: {source: me}}", "training.gemm_share: is a number, or a mapping"),
        ("training: 3", "training: is no mapping"),
        ("- 1", "the file: is no mapping"),
        ("training: {", "line"),
    ],
)
def test_what_is_wrong_with_one_is_a_line_that_names_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_assumptions(path)
    assert str(error.value).startswith(str(path)) and said in str(error.value) and "\n" not in str(error.value)
