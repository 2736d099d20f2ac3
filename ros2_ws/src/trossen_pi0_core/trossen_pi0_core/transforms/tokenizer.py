"""Prompts as token numbers, in the two formats that openpi trains with.

pi0:   ``<bos>TEXT`` and a newline of its own, ``TEXT`` stripped, ``_`` and newlines made spaces.
pi0.5: ``<bos>Task: TEXT, State: 12 255 -1 ...;`` newline ``Action: ``, the state in 256 bins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.errors import TokenizerError

PAD_ID = 0
"""Fills the rest of the tokens; the mask is False there."""

STATE_BINS = 256

_LOG = logging.getLogger(__name__)
_BIN_EDGES = np.linspace(-1.0, 1.0, STATE_BINS + 1)[:-1]
_SHOWN_CHARACTERS = 80


class Tokenizer(Protocol):
    """Turns text into token numbers. Any thread."""

    @property
    def vocab_size(self) -> int:
        """Token numbers are below this."""
        ...

    def encode(self, text: str, *, begin: bool) -> list[int]:
        """Token numbers of a text, after the begin-of-text token if ``begin``."""
        ...


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model, such as PaliGemma's (``paligemma_tokenizer.model``)."""

    def __init__(self, file: str | Path) -> None:
        """Args:
            file: the serialised model.

        Raises:
            TokenizerError: no such file, no such model, or one without a begin-of-text token.
        """
        from sentencepiece import SentencePieceProcessor

        try:
            content = Path(file).read_bytes()
        except OSError as error:
            raise TokenizerError(f"tokeniser file {file} cannot be read: {error}") from error
        self._model = SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(content)
        except RuntimeError as error:
            raise TokenizerError(
                f"{file} ({len(content)} bytes) is no SentencePiece model: {error}"
            ) from error
        if self._model.bos_id() < 0:
            raise TokenizerError(f"{file} has no begin-of-text token; PaliGemma's model has one")

    @property
    @override
    def vocab_size(self) -> int:
        return self._model.vocab_size()

    @override
    def encode(self, text: str, *, begin: bool) -> list[int]:
        return self._model.encode(text, add_bos=begin)


class ByteTokenizer(Tokenizer):
    """A token per UTF-8 byte, for small models: pad 0, end 1, begin 2, byte b is b + 3."""

    BEGIN_ID = 2
    FIRST_BYTE_ID = 3

    @property
    @override
    def vocab_size(self) -> int:
        return self.FIRST_BYTE_ID + 256

    @override
    def encode(self, text: str, *, begin: bool) -> list[int]:
        numbers = [byte + self.FIRST_BYTE_ID for byte in text.encode()]
        return [self.BEGIN_ID, *numbers] if begin else numbers


def digitise(state: NDArray[np.floating]) -> NDArray[np.int64]:
    """Bins of a normalised state: 0 to 255 from -1 up, 255 from 1 - 1/128 up, -1 below -1."""
    return np.digitize(state, _BIN_EDGES) - 1


def prompt_text(prompt: str, state: NDArray[np.floating] | None = None) -> str:
    """What of a prompt is tokenised at once; pi0's newline is not in it (see the module)."""
    text = prompt.strip().replace("_", " ").replace("\n", " ")
    if state is None:
        return text
    return f"Task: {text}, State: {' '.join(map(str, digitise(state)))};\nAction: "


def tokenize_prompt(
    tokenizer: Tokenizer,
    prompt: str,
    max_len: int,
    state: NDArray[np.floating] | None = None,
    *,
    on_truncated: Callable[[str, int, int], None] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Token numbers of a prompt. Those beyond ``max_len`` are cut off, the last newline too.

    Args:
        tokenizer: of the model.
        prompt: instruction in plain language.
        max_len: length of the result.
        state: normalised by quantiles, not padded, shape (n,), for pi0.5's format; None for pi0's.
        on_truncated: called with prompt, number of tokens and ``max_len`` when some are cut off;
            :func:`log_truncated` unless given.

    Returns:
        Tokens int32 and mask bool, shape (max_len,) each: numbers and True, then 0 and False.
    """
    ids = tokenizer.encode(prompt_text(prompt, state), begin=True)
    if state is None:
        ids = ids + tokenizer.encode("\n", begin=False)
    if len(ids) > max_len:
        (on_truncated or log_truncated)(prompt, len(ids), max_len)
    n = min(len(ids), max_len)
    tokens = np.full(max_len, PAD_ID, dtype=np.int32)
    tokens[:n] = ids[:n]
    return tokens, np.arange(max_len) < n


def log_truncated(prompt: str, tokens: int, max_len: int) -> None:
    """Logs that a prompt is too long."""
    shown = prompt if len(prompt) <= _SHOWN_CHARACTERS else f"{prompt[:_SHOWN_CHARACTERS]}..."
    _LOG.warning(
        "a prompt has %d tokens, the model takes %d, the rest is cut off: %r",
        tokens,
        max_len,
        shown,
    )
