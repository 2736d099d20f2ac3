"""Prompts become openpi's token numbers.

``openpi_prompts.npz`` holds what openpi's ``PaligemmaTokenizer`` makes of the same prompts with
the same SentencePiece model, which stands in for PaliGemma's (``make_tokenizer.py``).
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from trossen_pi0_core.errors import TokenizerError
from trossen_pi0_core.transforms import (
    ByteTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    tokenize_prompt,
)
from trossen_pi0_core.transforms.tokenizer import digitise, prompt_text

DATA = Path(__file__).parents[1] / "data"
MODEL = DATA / "tiny_tokenizer.model"

CASES = (
    "short",
    "untidy",
    "fits_exactly",
    "too_long",
    "unseen",
    "empty",
    "state",
    "state_too_long",
)


@pytest.fixture(scope="module")
def pieces() -> SentencePieceTokenizer:
    return SentencePieceTokenizer(MODEL)


@pytest.fixture(params=["sentencepiece", "bytes"])
def tokenizer(request: pytest.FixtureRequest, pieces: SentencePieceTokenizer) -> Tokenizer:
    return pieces if request.param == "sentencepiece" else ByteTokenizer()


@pytest.mark.parametrize("case", CASES)
def test_tokens_are_openpi_s(case: str, pieces: SentencePieceTokenizer) -> None:
    golden = np.load(DATA / "openpi_prompts.npz")
    expected = golden[f"{case}/tokens"]
    state = golden.get(f"{case}/state")
    tokens, mask = tokenize_prompt(pieces, str(golden[f"{case}/prompt"]), len(expected), state)
    assert (tokens.dtype, mask.dtype) == (np.int32, np.bool_)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_array_equal(mask, golden[f"{case}/mask"])


def test_the_cases_of_openpi_are_all_compared() -> None:
    assert {name.split("/")[0] for name in np.load(DATA / "openpi_prompts.npz")} == set(CASES)


def test_the_format_of_pi0_is_text_and_a_newline_of_its_own() -> None:
    tokens, mask = tokenize_prompt(ByteTokenizer(), " a_b\nc\n", 9)
    #                              bos  a    b     c    newline, padding
    assert tokens.tolist() == [2, 100, 35, 101, 35, 102, 13, 0, 0]
    assert mask.tolist() == [True] * 7 + [False] * 2


def test_the_format_of_pi0_5_has_the_state_in_it() -> None:
    state = np.array([-1.01, -1.0, 0.0, 1.0])
    text = prompt_text("grab_it ", state)
    assert text == "Task: grab it, State: -1 0 128 255;\nAction: "
    tokens, mask = tokenize_prompt(ByteTokenizer(), "grab_it ", 80, state)
    assert tokens[0] == 2
    assert bytes((tokens[1 : mask.sum()] - 3).tolist()).decode() == text


def test_bins_are_128ths_from_minus_one_up() -> None:
    state = np.array([-9.0, np.nextafter(-1.0, -2), -1.0, -1 + 1 / 128, -1e-9, 0.0, 0.999, 9.0])
    assert digitise(state).tolist() == [-1, -1, 0, 1, 127, 128, 255, 255]


def test_a_prompt_that_is_cut_loses_its_newline_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fits, mask = tokenize_prompt(ByteTokenizer(), "abcd", 6)
    assert fits.tolist() == [2, 100, 101, 102, 103, 13]
    assert mask.all()
    assert not caplog.records
    cut, mask = tokenize_prompt(ByteTokenizer(), "abcde", 6)
    assert cut.tolist() == [2, 100, 101, 102, 103, 104]
    assert mask.all()
    assert caplog.record_tuples == [
        (
            "trossen_pi0_core.transforms.tokenizer",
            logging.WARNING,
            "a prompt has 7 tokens, the model takes 6, the rest is cut off: 'abcde'",
        )
    ]


def test_the_log_shows_the_beginning_of_a_long_prompt(caplog: pytest.LogCaptureFixture) -> None:
    tokenize_prompt(ByteTokenizer(), "x" * 5000, 6)
    assert caplog.messages[0].endswith(f"cut off: '{'x' * 80}...'")


def test_token_numbers_lie_in_the_vocabulary(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("grab it; Größe 3 µm\n\0 🙂", begin=True)
    assert ids[0] == 2
    assert min(ids[1:]) >= 3
    assert max(ids) < tokenizer.vocab_size
    assert tokenizer.encode("a", begin=True) == [2, *tokenizer.encode("a", begin=False)]


def test_the_byte_tokeniser_is_as_small_as_it_says() -> None:
    assert ByteTokenizer().vocab_size == 259
    assert ByteTokenizer().encode("\0ÿ", begin=False) == [3, 3 + 0xC3, 3 + 0xBF]


def test_a_missing_tokeniser_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"nowhere\.model cannot be read"):
        SentencePieceTokenizer(tmp_path / "nowhere.model")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", MODEL.read_bytes()[:3000]])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "paligemma_tokenizer.model"
    file.write_bytes(content)
    with pytest.raises(TokenizerError, match=rf"\({len(content)} bytes\) is no SentencePiece"):
        SentencePieceTokenizer(file)
