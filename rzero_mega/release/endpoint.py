"""An OpenAI-compatible endpoint on one SGLang server: what is served, under which name, how it is to be asked."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.config.schema import Config
from rzero_mega.release.folder import TRAINED_TEMPLATE, write_trained_prompt
from rzero_mega.release.trained_model import TrainedModel
from rzero_mega.rollout.chat_template import beginning, own_template, refusing, rendered
from rzero_mega.rollout.sglang.pool.choices import device_of_servers
from rzero_mega.rollout.sglang.server.command import ServerSpec, TextApi
from rzero_mega.rollout.tokenization import load_tokenizer
from rzero_mega.weights.model_copy import link_model
from rzero_mega.weights.model_files import model_file

QUESTION = "12*3+5"
CLIENT_KEY = "OPENAI_API_KEY"
_NO_TEMPLATE = "this model has no chat template; use /v1/completions"
_MOST_TEMPLATE_BYTES = 1 << 20


@dataclass(frozen=True)
class Endpoint:
    """A folder that a server is to be started on, and the name that its users call the model by."""

    folder: Path
    name: str

    @property
    def template(self) -> Path:
        """The chat template that the server applies."""
        return self.folder / TRAINED_TEMPLATE


def of_run(trained: TrainedModel, folder: Path) -> Endpoint:
    """Make `folder`, which is not there yet, one that serves a model of a run; the weights are links into the run."""
    link_model(trained.folder, folder)
    write_trained_prompt(folder, trained.prompt())
    return Endpoint(folder, trained.name)


def of_model(model: Path, folder: Path) -> Endpoint:
    """The same for a model's folder: one that was exported is asked as it was trained, another by its own template."""
    link_model(model, folder)
    exported = model_file(model, TRAINED_TEMPLATE, _MOST_TEMPLATE_BYTES)
    if exported is not None:
        text = exported.read_text(encoding="utf-8")
    else:
        text = own_template(load_tokenizer(folder)) or refusing(_NO_TEMPLATE)
    (folder / TRAINED_TEMPLATE).write_text(text, encoding="utf-8")
    return Endpoint(folder, model.resolve().name)


def server_spec(endpoint: Endpoint, config: Config, port: int) -> ServerSpec:
    """The server that a run's rollouts would have, but for its protocol, and that no learner shares its memory."""
    sglang = config.rollout.sglang
    return ServerSpec(
        model=endpoint.folder,
        port=port,
        tp=sglang.tp,
        dtype=config.rollout.dtype,
        device=device_of_servers(),
        host=sglang.host,
        max_running_requests=sglang.max_running_requests,
        max_total_tokens=sglang.max_total_tokens,
        context_length=sglang.context_length,
        extra_arguments=tuple(sglang.extra_arguments),
        text_api=TextApi(endpoint.name, endpoint.template),
    )


def how_to_call(endpoint: Endpoint, url: str) -> str:
    """What a user pastes: a chat and a completion by curl, and the same chat from Python."""
    tokenizer = load_tokenizer(endpoint.folder)
    try:
        text = rendered(tokenizer, endpoint.template.read_text(encoding="utf-8"), QUESTION)
    except Exception:  # a template may raise what it likes: it says that there is no chat
        return "\n".join(["no chat: the model has no template; completions:", _curl(url, "completions", _plain("..."))])
    # The server itself writes what a tokenizer begins a text with.
    prompt = text.removeprefix(beginning(tokenizer))
    chat = {"model": endpoint.name, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
    return "\n".join(
        [
            f"A message becomes the prompt {prompt!r}; a completion takes it as it stands.",
            "",
            _curl(url, "chat/completions", chat),
            "",
            _curl(url, "completions", {"model": endpoint.name, **_plain(prompt)}),
            "",
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{url}/v1")  # takes the key from {CLIENT_KEY}',
            f'chat = client.chat.completions.create(model="{endpoint.name}", temperature=0,',
            f'                                      messages=[{{"role": "user", "content": "{QUESTION}"}}])',
        ]
    )


def _plain(prompt: str) -> dict[str, object]:
    return {"prompt": prompt, "max_tokens": 64, "temperature": 0}


def _curl(url: str, route: str, body: dict[str, object]) -> str:
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return (
        f'curl {url}/v1/{route} -H "Authorization: Bearer ${CLIENT_KEY}" -H "Content-Type: application/json" \\\n'
        f"  -d {data}"
    )
