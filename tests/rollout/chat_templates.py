"""Chat templates of published models, as far as conversations without tools go, with the tokens that end their texts.

Written down from the models' tokenizer_config.json and generation_config.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

_QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip
_SMOLLM_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_QWEN2_5 = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nDEFAULT<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant") %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
_QWEN3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning_content + '\\n</think>\\n\\n' }}
            {{- content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
_LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim"
    " + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_LLAMA3_2 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
_SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nDEFAULT<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class PublishedModel:
    """`eos` is the tokenizer's, `generation_eos` what generation_config.json has; `stops` is what must end a sample."""

    name: str
    family: str
    tokens: tuple[str, ...]
    template: str | None
    eos: str
    generation_eos: tuple[str, ...]
    stops: tuple[str, ...]

    def write(self, folder: Path) -> Tokenizer:
        """A folder with a tokenizer of bytes and these control tokens, and what says where samples end."""
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(list(self.tokens))
        tokenizer.save(str(folder / "tokenizer.json"))
        ids = [tokenizer.token_to_id(token) for token in self.generation_eos]
        bos = self.tokens[0] if self.family == "llama" else None
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": self.eos, "bos_token": bos}
        config = {"model_type": self.family, "vocab_size": 512, "eos_token_id": tokenizer.token_to_id(self.eos)}
        template = {} if self.template is None else {"chat_template": self.template}
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **template}))
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
        (folder / "config.json").write_text(json.dumps(config))
        return tokenizer


_TEXT, _TURN, _EOT = "<|endoftext|>", "<|im_end|>", "<|eot_id|>"
_END = "<|end_of_text|>"
PUBLISHED = [
    PublishedModel("Qwen3-8B-Base", "qwen3", _QWEN_TOKENS, _QWEN3, _TEXT, (_TEXT,), (_TEXT, _TURN)),
    PublishedModel("Qwen3-8B", "qwen3", _QWEN_TOKENS, _QWEN3, _TURN, (_TURN, _TEXT), (_TEXT, _TURN)),
    PublishedModel("Qwen2.5-7B", "qwen2", _QWEN_TOKENS, _QWEN2_5, _TEXT, (_TEXT,), (_TEXT, _TURN)),
    PublishedModel("Qwen2.5-7B-Instruct", "qwen2", _QWEN_TOKENS, _QWEN2_5, _TURN, (_TURN, _TEXT), (_TEXT, _TURN)),
    PublishedModel("Llama-3.1-8B", "llama", _LLAMA_TOKENS, None, _END, (_END,), (_END,)),
    PublishedModel("Meta-Llama-3-8B-Instruct", "llama", _LLAMA_TOKENS, _LLAMA3, _EOT, (_END, _EOT), (_END, _EOT)),
    PublishedModel(
        "Llama-3.2-3B-Instruct", "llama", _LLAMA_TOKENS, _LLAMA3_2, _EOT, (_END, "<|eom_id|>", _EOT),
        (_END, "<|eom_id|>", _EOT),
    ),
    # A base model under its family's template, as is done for training on conversations.
    PublishedModel("Llama-3.1-8B, Instruct's template", "llama", _LLAMA_TOKENS, _LLAMA3, _END, (_END,), (_END, _EOT)),
    # The tokenizer is that of Llama 3.2's base models.
    PublishedModel("OctoThinker-8B-Hybrid-Base", "llama", _LLAMA_TOKENS, None, _END, (_END,), (_END,)),
    PublishedModel("SmolLM2-1.7B", "llama", _SMOLLM_TOKENS, None, _TEXT, (_TEXT,), (_TEXT,)),
    PublishedModel("SmolLM2-1.7B-Instruct", "llama", _SMOLLM_TOKENS, _SMOLLM2, _TURN, (_TURN,), (_TURN,)),
]  # fmt: skip
