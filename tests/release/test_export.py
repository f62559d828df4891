from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rzero_mega.assets import nano_base_path
from rzero_mega.commands.export import ExportOptions, export
from rzero_mega.config import Config
from rzero_mega.config.schema import SamplingConfig
from rzero_mega.domains.prompts import load_prompt
from rzero_mega.errors import UserError
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.phase_name import PhaseName
from rzero_mega.release.card import base_of
from rzero_mega.release.folder import generation_config
from rzero_mega.release.licence import Licence, licence_of, named_licence
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.run import RunDirectory
from rzero_mega.weights.base_model import check_model_folder
from tests.release.made_run import WEIGHTS, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs") / "nano-seed0")


@pytest.fixture(scope="module")
def exported(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "solver"
    assert export(run, ExportOptions(output=folder)) == [str(folder)]
    return folder


def model_of(run: RunDirectory, name: PhaseName = PhaseName.SOLVER, iteration: int = 2) -> Path:
    return run.phase(iteration, name).output("model")


def front_matter(folder: Path) -> dict[str, Any]:
    head: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    return head


class TestFolder:
    def test_it_is_the_run_s_model_byte_for_byte(self, run: RunDirectory, exported: Path) -> None:
        for file in model_of(run).iterdir():
            if file.name != "generation_config.json":
                assert (exported / file.name).read_bytes() == file.read_bytes()

    def test_transformers_loads_it_and_sees_the_run_s_logits(self, run: RunDirectory, exported: Path) -> None:
        tokens = AutoTokenizer.from_pretrained(exported)("Q:12*3+5\nA:", return_tensors="pt").input_ids
        with torch.no_grad():
            ours, theirs = (
                AutoModelForCausalLM.from_pretrained(folder)(tokens).logits for folder in (exported, model_of(run))
            )
        assert torch.equal(ours, theirs)
        generation = GenerationConfig.from_pretrained(exported)
        generation.validate(strict=True)
        assert (generation.eos_token_id, generation.temperature, generation.max_new_tokens) == ([1], 1.0, 80)

    def test_a_new_run_can_start_from_it_and_asks_as_from_the_run_s_model(
        self, run: RunDirectory, exported: Path
    ) -> None:
        shape = check_model_folder(exported)
        inspect_tokenizer(exported, shape.vocab, [load_prompt("math_challenger")], [load_prompt("math_solver")])
        assert stop_tokens(exported) == stop_tokens(model_of(run))
        assert not AutoTokenizer.from_pretrained(exported).chat_template

    def test_a_challenger_goes_with_its_own_prompt(self, run: RunDirectory, tmp_path: Path) -> None:
        export(run, ExportOptions("challenger", 1, tmp_path / "c"))
        assert 'raw: "C:"' in (tmp_path / "c" / "trained_prompt.yaml").read_text()
        card = (tmp_path / "c" / "README.md").read_text()
        assert card.count("# nano-seed0-challenger-1") == 1
        assert "It writes questions" in card

    def test_an_empty_folder_is_filled(self, run: RunDirectory, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        export(run, ExportOptions(output=tmp_path / "empty"))
        assert (tmp_path / "empty" / WEIGHTS).is_file()

    @pytest.mark.parametrize(
        ("sampling", "expected"),
        [
            (SamplingConfig(0.6, 0.95, 20, 9), {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}),
            (SamplingConfig(1.0, 1.0, 0, 9), {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 104}),
            (SamplingConfig(0.0, 1.0, 0, 9), {"do_sample": False}),
        ],
    )
    def test_the_sampling_is_the_run_s_and_nothing_else_stays(
        self, tmp_path: Path, sampling: SamplingConfig, expected: dict[str, Any]
    ) -> None:
        shutil.copytree(nano_base_path(), tmp_path, dirs_exist_ok=True)
        own = {"repetition_penalty": 1.3, "eos_token_id": [0, 1], "pad_token_id": 0, "temperature": 0.1}
        (tmp_path / "generation_config.json").write_text(json.dumps(own))
        fixed = {"pad_token_id": 0, "eos_token_id": [0, 1], "max_new_tokens": 9}
        assert generation_config(tmp_path, sampling) == {**fixed, **expected}


class TestCard:
    def test_its_head_is_what_the_hub_reads(self, exported: Path) -> None:
        assert front_matter(exported) == {
            "license": "apache-2.0",
            "library_name": "transformers",
            "pipeline_tag": "text-generation",
            "tags": ["rzero_mega", "r-zero", "self-play", "grpo", "reasoning"],
        }

    def test_it_says_how_to_ask_what_came_out_and_how_it_was_made(self, exported: Path) -> None:
        card = (exported / "README.md").read_text()
        assert "```\nQ:{question}\nA:\n```" in card
        assert "| benchmark | base | iteration 1 | iteration 2 |" in card
        assert "| 2 | 62.5 % | 75.0 % |" in card
        assert "| `labels.curation.low` | 0.25 | 0.4 |" in card
        assert "No questions or answers that people wrote were trained on" in card
        assert "GPU-hours" not in card
        assert "Verifier" not in card and "`verifier." not in card

    def test_the_card_names_a_verifier_that_the_run_had(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "nano-seed0", "verifier.train=true", iterations=1)
        export(run, ExportOptions(output=tmp_path / "out"))
        card = (tmp_path / "out" / "README.md").read_text()
        assert "as labels.\nA Verifier, trained on those votes, had a say" in card
        assert "| `verifier.train` | false | true |" in card and "| `verifier.training.prompts_per_step` |" in card

    def test_where_answers_have_scores_it_tells_of_no_votes_labels_or_boxes(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "r", "domain=rewriting", "evaluation.benchmarks=[rewriting:1]", iterations=1)
        export(run, ExportOptions(output=tmp_path / "out"))
        export(run, ExportOptions("challenger", output=tmp_path / "c"))
        solver, challenger = ((tmp_path / name / "README.md").read_text() for name in ("out", "c"))
        assert "rewarded by scores of its answers." in solver and "| score | hidden quality |" in solver
        assert "no question had a label,\nand it was kept where the spread of its answers' scores lay in [" in solver
        assert "its reward was what scores of the Solver's answers" in challenger
        for word in ("majority", "votes", "uncertainty", "abel accuracy", "boxed"):
            # The settings name keys.
            assert word not in "".join(text.split("## Settings")[0] for text in (solver, challenger)), word

    def test_labelled_data_is_named(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "r", "labelled.method=grpo", "labelled.data=arithmetic:20", iterations=1)
        export(run, ExportOptions(output=tmp_path / "out"))
        card = (tmp_path / "out" / "README.md").read_text()
        assert "after labelled fine-tuning by rzero_mega, iteration 1: GRPO, rewarded where" in card
        assert (
            f"The answers of arithmetic:20, – examples (SHA-256 of the run's copy: {run.info.texts['labelled.data']})"
            in card
        )
        assert "Label accuracy*" not in card and "No questions or answers that people wrote" not in card
        assert front_matter(tmp_path / "out")["tags"] == ["rzero_mega", "grpo", "reasoning"]

    def test_a_base_of_this_machine_is_named_without_its_path(self, tmp_path: Path) -> None:
        base = tmp_path / "secret-project" / "My-Base"
        shutil.copytree(nano_base_path(), base, ignore=shutil.ignore_patterns("README.md"))
        run = make_run(tmp_path / "r", f"model.path={base}", iterations=1)
        export(run, ExportOptions(output=tmp_path / "out"))
        card = (tmp_path / "out" / "README.md").read_text()
        assert "secret-project" not in card
        assert "grown from My-Base" in card
        assert "Unknown: no card of the base, My-Base" in card
        assert "license" not in front_matter(tmp_path / "out")
        export(run, ExportOptions(output=tmp_path / "named", licence="mit", base_model="Me/My-Base"))
        assert front_matter(tmp_path / "named") | {"license": "mit", "base_model": "Me/My-Base"} == front_matter(
            tmp_path / "named"
        )

    def test_a_prompt_cannot_end_its_block(self, tmp_path: Path) -> None:
        prompt = tmp_path / "p.yaml"
        prompt.write_text('raw: "```\\n# Injected\\n{question}"\n')
        run = make_run(tmp_path / "r", f"prompts.solver={prompt}", iterations=1)
        prompt.unlink()
        export(run, ExportOptions(output=tmp_path / "out"))
        assert "````\n```\n# Injected\n{question}\n````" in (tmp_path / "out" / "README.md").read_text()

    @pytest.mark.parametrize(
        ("path", "given", "shown", "hub_name"),
        [
            ("Qwen/Qwen3-8B-Base", None, "Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B-Base"),
            ("asset:nano_base", None, "asset:nano_base", None),
            ("/data/models/Base", None, "Base", None),
            ("/data/models/Base", "Org/Base", "Org/Base", "Org/Base"),
        ],
    )
    def test_bases_are_called_by_their_name(
        self, path: str, given: str | None, shown: str, hub_name: str | None
    ) -> None:
        config = Config()
        config.model.path = path
        base = base_of(config, given, None)
        assert (base.shown, base.hub_name) == (shown, hub_name)


class TestLicence:
    @pytest.mark.parametrize(
        ("card", "expected"),
        [
            ("---\nlicense: apache-2.0\n---\n# x", Licence("apache-2.0")),
            (
                "---\ntags: [a]\nlicense: other\nlicense_name: qwen\nlicense_link: LICENSE\n---\n",
                Licence("other", "qwen", "LICENSE"),
            ),
            ("---\r\nlicense: mit\r\n---\r\n", Licence("mit")),
            ("license: mit\n", None),
            ("---\nlicense: [mit, bsd]\n---\n", None),
            ('---\nlicense: "mit\\n# x"\n---\n', None),
            ("---\nlicense: mit\nlicense: bsd\n---\n", None),
            ("---\nlicense: mit\n", None),
            ("", None),
        ],
    )
    def test_it_is_what_the_head_of_the_base_s_card_says(
        self, tmp_path: Path, card: str, expected: Licence | None
    ) -> None:
        (tmp_path / "README.md").write_bytes(card.encode())
        assert licence_of(tmp_path) == expected

    def test_one_that_is_given_must_be_an_identifier(self, tmp_path: Path) -> None:
        assert licence_of(tmp_path) is None
        with pytest.raises(UserError, match="--license 'My Licence'"):
            named_licence("My Licence")


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (ExportOptions(iteration=0), "iteration 0: is the base model, asset:nano_base"),
            (ExportOptions(iteration=3), "iteration 3: has no finished solver; these iterations have: 1, 2"),
            (ExportOptions(role="judge"), "--role judge: there are solver and challenger"),
            (ExportOptions(licence="My Licence"), "--license"),
            (ExportOptions(public=True), "--public: .*add --push"),
            (ExportOptions(push="name"), "--push name: a model on the hub is called OWNER/NAME"),
            (ExportOptions(push="a/b c"), "--push a/b c: "),
        ],
    )
    def test_what_is_asked_wrongly_is_one_line_and_nothing_is_written(
        self, run: RunDirectory, tmp_path: Path, options: ExportOptions, message: str
    ) -> None:
        with pytest.raises(UserError, match=message):
            export(run, replace(options, output=tmp_path / "out"))
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda path: (path.mkdir(), (path / "x").touch()), "out: holds something already"),
            (lambda path: path.touch(), "out: is no folder"),
            (lambda path: path.symlink_to("elsewhere"), "out: is no folder"),
        ],
    )
    def test_what_is_there_stays(
        self, run: RunDirectory, tmp_path: Path, make: Callable[[Path], object], message: str
    ) -> None:
        make(tmp_path / "out")
        with pytest.raises(UserError, match=message):
            export(run, ExportOptions(output=tmp_path / "out"))

    @pytest.mark.parametrize("file", [WEIGHTS, "tokenizer.json", "config.json"])
    def test_damage_in_the_run_is_named_and_nothing_is_written(self, tmp_path: Path, file: str) -> None:
        run = make_run(tmp_path / "r", iterations=1)
        damaged = model_of(run, iteration=1) / file
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
        with pytest.raises(UserError, match=f"model/{file}: has changed since it was written"):
            export(run, ExportOptions(output=tmp_path / "out"))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]

    def test_a_model_that_was_removed_is_told_with_those_that_are_there(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "r")
        with RunDirectory.create_or_open(run.path, run.config, writer=True) as writer:
            writer.phase(1, PhaseName.SOLVER).remove_output("model")
        with pytest.raises(UserError, match=r"was removed by run\.keep_models; .*: 2$"):
            export(run, ExportOptions(iteration=1, output=tmp_path / "out"))
        shutil.rmtree(model_of(run))
        with pytest.raises(UserError, match=r"model: is missing; .*: none"):
            export(run, ExportOptions(iteration=2, output=tmp_path / "out"))
        with pytest.raises(UserError, match="has no solver of a finished phase"):
            export(run, ExportOptions(output=tmp_path / "out"))


@dataclass
class FaultyHub:
    """A hub that fails at one call."""

    fails_at: str = ""
    error: Exception = field(default_factory=lambda: RuntimeError("down"))
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def whoami(self) -> None:
        self._called("whoami")

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        self._called("create_repo", (repo_id, private, exist_ok))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        assert (folder_path / WEIGHTS).is_file()
        self._called("upload_folder", (repo_id, commit_message))

    def _called(self, name: str, what: Any = None) -> None:
        self.calls.append((name, what))
        if name == self.fails_at:
            raise self.error


def refused(status: int) -> HfHubHTTPError:
    # The hub library has an HTTP library of its own, whose responses are alike.
    response: Any = httpx.Response(status, request=httpx.Request("POST", "https://hub"))
    return HfHubHTTPError(f"{status} Client Error\nmore lines", response=response)


class TestPush:
    def test_it_goes_into_a_private_repository_after_the_folder_is_whole(
        self, run: RunDirectory, tmp_path: Path
    ) -> None:
        hub = FaultyHub()
        where = export(run, ExportOptions(output=tmp_path / "out", push="Me/my-solver"), hub)
        assert where == [str(tmp_path / "out"), "https://huggingface.co/Me/my-solver"]
        assert hub.calls == [
            ("whoami", None),
            ("create_repo", ("Me/my-solver", True, True)),
            ("upload_folder", ("Me/my-solver", "nano-seed0-solver-2: solver after iteration 2")),
        ]

    def test_it_is_public_where_that_is_asked_for(self, run: RunDirectory, tmp_path: Path) -> None:
        hub = FaultyHub()
        export(run, ExportOptions(output=tmp_path / "out", push="Me/my-solver", public=True), hub)
        assert ("create_repo", ("Me/my-solver", False, True)) in hub.calls

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (LocalTokenNotFoundError("x"), "no token; `hf auth login`, or set HF_TOKEN"),
            (OfflineModeIsEnabled("x"), "HF_HUB_OFFLINE is set"),
            (httpx.ConnectError("[Errno -3] Temporary failure in name resolution"), "Temporary failure in name"),
            (refused(401), "the token may not do so"),
            (refused(503), "503 Client Error$"),
        ],
    )
    def test_no_token_or_network_is_found_before_anything_is_written(
        self, run: RunDirectory, tmp_path: Path, error: Exception, message: str
    ) -> None:
        hub = FaultyHub("whoami", error)
        with pytest.raises(UserError, match=f"^--push Me/x: .*{message}"):
            export(run, ExportOptions(output=tmp_path / "out", push="Me/x"), hub)
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("call", ["create_repo", "upload_folder"])
    def test_a_failed_upload_leaves_the_folder_and_says_how_to_send_it(
        self, run: RunDirectory, tmp_path: Path, call: str
    ) -> None:
        with pytest.raises(UserError, match=f"`hf upload Me/x {tmp_path / 'out'}` sends it"):
            export(run, ExportOptions(output=tmp_path / "out", push="Me/x"), FaultyHub(call))
        assert (tmp_path / "out" / WEIGHTS).is_file()

    def test_without_a_token_the_hub_s_own_client_says_so_in_one_line(
        self, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
        with pytest.raises(UserError, match="no token"):
            export(run, ExportOptions(output=tmp_path / "out", push="Me/x"))
