"""The character tokenizer of the bases."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

EOS, PAD, UNKNOWN = "⟨eos⟩", "⟨pad⟩", "⟨unk⟩"
"""Special tokens. Their brackets are outside the alphabet, so no text that the model can write spells one of them."""

ALPHABET = "\n" + "".join(chr(code) for code in range(ord(" "), ord("~") + 1))
"""The characters of the vocabulary: newline and printable ASCII."""

MAX_POSITIONS = 512

_VOCABULARY_MULTIPLE = 8


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the character tokenizer: one token for each character, no text is ever read as a special token.

    Two things guard the special tokens: their names hold characters outside the alphabet, and ``split_special_tokens``
    makes the tokenizer spell such a name out (brackets become the unknown token) when it occurs in text.
    """
    specials = [PAD, EOS, UNKNOWN]
    reserved = -(len(specials) + len(ALPHABET)) % _VOCABULARY_MULTIPLE
    specials += [f"⟨reserved{index}⟩" for index in range(reserved)]
    vocabulary = {token: index for index, token in enumerate([*specials, *ALPHABET])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_POSITIONS,
        padding_side="left",
    )
