"""Rules that the families share: everything but the experts."""

from __future__ import annotations

from rzero_mega.weights.mapping.kinds import REPLICATED, ROW, FusedQkv, GatedColumn, Vocabulary
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape

MEGATRON = "decoder.layers.{layer}."
HF = "model.layers.{layer}."
EMBEDDING, OUTPUT = "embedding.word_embeddings.weight", "output_layer.weight"
QKV = ("q_proj", "k_proj", "v_proj")

FRAME = (
    Rule(EMBEDDING, ("model.embed_tokens.weight",), (("vocab", "hidden"),), Vocabulary()),
    Rule("decoder.final_layernorm.weight", ("model.norm.weight",), (("hidden",),), REPLICATED),
    Rule(MEGATRON + "input_layernorm.weight", (HF + "input_layernorm.weight",), (("hidden",),), REPLICATED),
    Rule(
        MEGATRON + "self_attention.linear_proj.weight",
        (HF + "self_attn.o_proj.weight",),
        (("hidden", "values"),),
        ROW,
    ),
    Rule(
        MEGATRON + "pre_mlp_layernorm.weight",
        (HF + "post_attention_layernorm.weight",),
        (("hidden",),),
        REPLICATED,
    ),
)
COMMON = (
    *FRAME,
    Rule(
        MEGATRON + "self_attention.linear_qkv.weight",
        tuple(f"{HF}self_attn.{name}.weight" for name in QKV),
        (("queries", "hidden"), ("keys", "hidden"), ("keys", "hidden")),
        FusedQkv(),
    ),
)
MLP = (
    Rule(
        MEGATRON + "mlp.linear_fc1.weight",
        (HF + "mlp.gate_proj.weight", HF + "mlp.up_proj.weight"),
        (("ffn", "hidden"), ("ffn", "hidden")),
        GatedColumn(),
        layers="dense",
    ),
    Rule(MEGATRON + "mlp.linear_fc2.weight", (HF + "mlp.down_proj.weight",), (("hidden", "ffn"),), ROW, layers="dense"),
)
QK_NORM = (
    Rule(
        MEGATRON + "self_attention.q_layernorm.weight",
        (HF + "self_attn.q_norm.weight",),
        (("head_dim",),),
        REPLICATED,
    ),
    Rule(
        MEGATRON + "self_attention.k_layernorm.weight",
        (HF + "self_attn.k_norm.weight",),
        (("head_dim",),),
        REPLICATED,
    ),
)
QKV_BIAS = Rule(
    MEGATRON + "self_attention.linear_qkv.bias",
    tuple(f"{HF}self_attn.{name}.bias" for name in QKV),
    (("queries",), ("keys",), ("keys",)),
    FusedQkv(),
)
SCORE = "score.weight"
"""A Critic's head, on both sides: transformers' models for sequence classification call it so."""

SCORE_RULE = Rule(SCORE, (SCORE,), (("scores", "hidden"),), REPLICATED)
_HEAD = Rule(OUTPUT, ("lm_head.weight",), (("vocab", "hidden"),), Vocabulary())


def head_rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The output projection, unless it is the embedding."""
    return () if shape.tied else (_HEAD,)
