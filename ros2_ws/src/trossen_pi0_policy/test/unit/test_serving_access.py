"""The server's options and its API key."""

from __future__ import annotations

import pytest

import trossen_pi0_policy.serving as serving
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.serving import PolicyServer, ServeError, ServerOptions, read_api_key
from trossen_pi0_policy.serving.access import is_authorised


class Still:
    """A policy that is never asked."""

    metadata: dict = {}  # noqa: RUF012
    max_batch = 2

    def prepare(self, request):
        raise AssertionError

    def infer(self, prepared):
        raise AssertionError


def test_front_door():
    for name in serving.__all__:
        assert hasattr(serving, name)


def test_the_default_serves_this_machine_only():
    options = ServerOptions()
    assert (options.host, options.port, options.max_batch) == ("127.0.0.1", 8000, 1)
    assert options.max_message_bytes == 32 * 2**20


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": 65536}, r"port: 65536 lies outside \[0, 65535\]"),
        ({"port": -1}, "port: -1 lies outside"),
        ({"host": " "}, r"host: need a name or address, got ''.*0\.0\.0\.0"),
        ({"max_batch": 0}, "max_batch: 0 lies outside"),
        ({"batch_wait_ms": float("nan")}, "batch_wait_ms: need a finite number, got nan"),
        ({"max_message_mb": 0.0}, "max_message_mb: 0.0 lies outside"),
        ({"max_connections": "3"}, "max_connections: need int, got '3'"),
    ],
)
def test_options_out_of_range(values, says):
    with pytest.raises(ParameterError, match=says):
        ServerOptions(**values)


def test_a_batch_larger_than_the_policys_is_refused():
    with pytest.raises(ParameterError, match="max_batch: 3 is more than the 2 that the policy"):
        PolicyServer(Still(), ServerOptions(max_batch=3))


def test_metadata_that_cannot_be_sent_is_refused():
    policy = Still()
    policy.metadata = {"made": object()}
    with pytest.raises(ServeError, match="metadata cannot be sent: values of type object"):
        PolicyServer(policy, ServerOptions())


def test_the_port_is_known_once_it_listens():
    with pytest.raises(ServeError, match="does not listen yet"):
        _ = PolicyServer(Still(), ServerOptions()).port


def test_the_key_comes_from_the_file_before_the_environment(tmp_path):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    environ = {"TROSSEN_PI0_API_KEY": "from-environment"}
    assert read_api_key(file, environ) == "from-file"
    assert read_api_key(None, environ) == "from-environment"
    assert read_api_key(None, {}) == ""


@pytest.mark.parametrize("text", ["", "\n", "two words", "two\nlines", "clé", "x" * 1025])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path, text):
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError, match=r"API key file .*key") as caught:
        read_api_key(file, {})
    assert not text.strip() or text not in str(caught.value)


def test_a_blank_variable_is_no_key_but_an_error():
    with pytest.raises(ParameterError, match="TROSSEN_PI0_API_KEY is empty"):
        read_api_key(None, {"TROSSEN_PI0_API_KEY": " "})


def test_an_unreadable_key_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"nowhere cannot be read: No such file"):
        read_api_key(tmp_path / "nowhere", {})


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        (["Api-Key secret"], True),
        (["api-key  secret "], True),
        (["Api-Key Secret"], False),
        (["Api-Key secret2"], False),
        (["Api-Key"], False),
        (["Bearer secret"], False),
        (["secret"], False),
        (["Api-Key secr\udce9t"], False),
        ([], False),
        (["Api-Key secret", "Api-Key secret"], False),
    ],
)
def test_who_is_let_in(headers, allowed):
    assert is_authorised("secret", headers) is allowed


def test_without_a_key_everybody_is_let_in():
    assert is_authorised("", [])
    assert is_authorised("", ["Api-Key whatever"])
