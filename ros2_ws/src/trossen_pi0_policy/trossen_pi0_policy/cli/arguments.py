"""Arguments that several commands have, and their types."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

_Value = TypeVar("_Value")

DTYPES = ("auto", "bfloat16", "float32")
MAX_STEPS = 1000
REMOTE = "://"


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A type for argparse: a whole number of a range, its ends included."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"need a whole number from {low} to {high}, got {text!r}"
            )
        return value

    return parse


def number(low: float, high: float, unit: str) -> Callable[[str], float]:
    """A type for argparse: a number of a range, its ends included."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"need {low:g} to {high:g} {unit}, got {text!r}")
        return value

    return parse


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """A type for argparse, for ``several``: one of some words."""

    def parse(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"need some of {','.join(known)}, got {text!r}")
        return text

    return parse


def several(parse: Callable[[str], _Value]) -> Callable[[str], tuple[_Value, ...]]:
    """A type for argparse: values with commas between them, each once."""

    def parse_all(text: str) -> tuple[_Value, ...]:
        return tuple(dict.fromkeys(parse(part.strip()) for part in text.split(",")))

    return parse_all


def existing_file(text: str) -> Path:
    """A type for argparse: a file that is there."""
    path = Path(text)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise argparse.ArgumentTypeError(f"need a file, but {text!r} {kind}")
    return path


def output_file(text: str) -> Path:
    """A type for argparse: a file that can be made, in a folder that is there."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"need a file to write, but {text!r} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {str(path.parent)!r} does not exist")
    return path


def checkpoint(text: str) -> str:
    """A type for argparse: a folder that is there, or a URL."""
    if not text or (REMOTE not in text and not Path(text).is_dir()):
        kind = "is a file" if Path(text).is_file() else "does not exist"
        raise argparse.ArgumentTypeError(
            f"need a checkpoint folder or a URL such as gs://bucket/folder, but {text!r} {kind}"
        )
    return text


def add_checkpoint(parser: Any, *, required: bool = False) -> None:
    """Adds ``--checkpoint`` to a parser, or to a group of it."""
    parser.add_argument(
        "--checkpoint",
        type=checkpoint,
        required=required,
        metavar="DIR|URL",
        help="checkpoint folder with params/ and assets/, on disk, gs://... or shipped://sim_handover",
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds ``--config``."""
    parser.add_argument(
        "--config",
        metavar="NAME",
        help="model preset, such as pi0 or pi05; default: the one the checkpoint names",
    )


def add_sampling(parser: argparse.ArgumentParser, *, dtype: str) -> None:
    """Adds what decides about speed and precision.

    Args:
        parser: gets the arguments.
        dtype: default of the computation's type.
    """
    parser.add_argument(
        "--steps",
        type=whole_number(1, MAX_STEPS),
        default=10,
        metavar="N",
        help="flow steps of the sampler (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=dtype,
        help="type of parameters and computation; auto: bfloat16, on a CPU float32 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--compilation-cache",
        type=Path,
        metavar="DIR",
        help="keep compiled programs in this folder, so that the next start is faster",
    )


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Adds what turns prompts into tokens and says which statistics are used."""
    parser.add_argument(
        "--tokenizer",
        type=existing_file,
        metavar="FILE",
        help="PaliGemma's SentencePiece model; default: from the cache, else downloaded",
    )
    parser.add_argument(
        "--default-prompt", metavar="TEXT", help="prompt of observations that bring none"
    )
    parser.add_argument(
        "--asset-id",
        metavar="ID",
        help="which of the checkpoint's normalisation statistics; needed if it has several",
    )
    parser.add_argument(
        "--reference-client-compat",
        action="store_true",
        help="squash pictures and swap red and blue, as the vendor's client does; only for "
        "checkpoints that were never used otherwise",
    )
