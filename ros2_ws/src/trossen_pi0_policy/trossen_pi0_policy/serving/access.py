"""Who may ask: the API key, as openpi's clients send it (``Authorization: Api-Key <key>``)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from trossen_pi0_core.errors import ParameterError

API_KEY_VARIABLE = "TROSSEN_PI0_API_KEY"
"""Environment variable that holds the key where no file is named."""

SCHEME = "Api-Key"
_MAX_CHARACTERS = 1024


def read_api_key(file: Path | None, environ: Mapping[str, str]) -> str:
    """The key of a file, else of the environment; empty where there is neither.

    Args:
        file: text file that holds the key in its only line.
        environ: environment variables, see ``API_KEY_VARIABLE``.

    Raises:
        ParameterError: the file cannot be read, or what it holds is no key.
    """
    if file is None:
        text = environ.get(API_KEY_VARIABLE, "")
        return checked_api_key(text.strip(), API_KEY_VARIABLE) if text else ""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ParameterError(f"API key file {file} cannot be read: {reason}") from error
    return checked_api_key(text.strip(), f"API key file {file}")


def checked_api_key(key: str, source: str) -> str:
    """The key, if it can be sent in a header. The message of an error never holds it.

    Raises:
        ParameterError: it is empty, too long, or has characters that a header cannot hold.
    """
    if not key:
        raise ParameterError(f"{source} is empty, need an API key")
    if len(key) > _MAX_CHARACTERS or not all("!" <= character <= "~" for character in key):
        raise ParameterError(
            f"{source}: an API key has 1 to {_MAX_CHARACTERS} printable ASCII characters without "
            f"spaces, in one line; got {len(key)} characters"
        )
    return key


def is_authorised(api_key: str, headers: Sequence[str]) -> bool:
    """Whether the ``Authorization`` headers of a request hold the key; in constant time.

    Args:
        api_key: the right key; empty: everybody may ask.
        headers: values of all ``Authorization`` headers of the request.
    """
    if not api_key:
        return True
    if len(headers) != 1:
        return False
    scheme, _, given = headers[0].partition(" ")
    right = scheme.lower() == SCHEME.lower()
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), api_key.encode())
    return right and same
