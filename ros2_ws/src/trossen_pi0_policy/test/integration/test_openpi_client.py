"""The openpi client against a real websocket server with openpi's own packing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from openpi_client import msgpack_numpy
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.server import serve

from trossen_pi0_core.errors import BackendError, BackendUnavailableError
from trossen_pi0_core.openpi import OpenpiClient, ServerConfig, WireFormatError

REQUEST = {
    "state": np.arange(14, dtype=np.float32),
    "images": {"cam_high": np.full((3, 224, 224), 7, np.uint8)},
    "prompt": "grab and handover the red cube",
}


def packed(value) -> bytes:
    """As openpi's servers pack."""
    message = msgpack_numpy.packb(value)
    assert message is not None
    return message


@pytest.fixture
def connect():
    clients = []

    def make(port, **config):
        config = {"connect_timeout_s": 2.0, "answer_timeout_s": 2.0, **config}
        clients.append(OpenpiClient(ServerConfig(port=port, **config)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def wait_until(condition):
    end = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class RawServer:
    """Accepts TCP connections and does to them what it is told."""

    def __init__(self, act):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._act = act
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        try:
            while True:
                peer, _ = self._listener.accept()
                with peer:
                    self._act(peer)
        except OSError:
            return

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5.0)


@pytest.fixture
def raw_server():
    servers = []

    def make(act):
        servers.append(RawServer(act))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def limited_server():
    """Port of a server that takes messages of up to 4000 bytes."""

    def talk(connection):
        connection.send(packed({}))
        with contextlib.suppress(ConnectionClosed):
            connection.recv()

    with serve(talk, "127.0.0.1", 0, compression=None, max_size=4000) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


# All well -----------------------------------------------------------------------------------------


def test_metadata_request_and_answer(policy_server, connect):
    client = connect(policy_server.port)
    assert not client.connected
    assert client.connect() == {"robot": "fake"}
    assert client.connected
    assert client.metadata == {"robot": "fake"}
    answer = client.infer(REQUEST)
    assert answer["actions"].shape == (50, 14)
    np.testing.assert_array_equal(answer["actions"][49], REQUEST["state"])
    (seen,) = policy_server.requests
    assert seen["prompt"] == REQUEST["prompt"]
    assert seen["state"].dtype == np.float32
    np.testing.assert_array_equal(seen["images"]["cam_high"], REQUEST["images"]["cam_high"])


def test_infer_connects_by_itself_and_keeps_the_connection(policy_server, connect):
    client = connect(policy_server.port)
    for _ in range(3):
        client.infer(REQUEST)
    assert policy_server.connections == 1


def test_a_url_names_host_and_port(policy_server, connect):
    client = connect(1, host=f"ws://localhost:{policy_server.port}/policy")
    assert client.url == f"ws://localhost:{policy_server.port}/policy"
    assert client.connect() == {"robot": "fake"}


def test_the_api_key_is_sent_only_when_there_is_one(policy_server, connect):
    connect(policy_server.port, api_key="secret").connect()
    connect(policy_server.port).connect()
    assert policy_server.headers[0]["Authorization"] == "Api-Key secret"
    assert "Authorization" not in policy_server.headers[1]


def test_a_proxy_of_the_environment_is_not_asked(policy_server, connect, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect(policy_server.port).connect() == {"robot": "fake"}


def test_closing_says_goodbye(policy_server, connect):
    client = connect(policy_server.port)
    client.connect()
    client.close()
    wait_until(lambda: policy_server.goodbyes == 1)
    with pytest.raises(BackendUnavailableError, match="the client was closed"):
        client.infer(REQUEST)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("10.0.0.7", "ws://10.0.0.7:8000"),
        ("gpu", "ws://gpu:8000"),
        ("::1", "ws://[::1]:8000"),
        ("wss://gpu.lab", "wss://gpu.lab:8000"),
        ("wss://gpu.lab:443/p?q=1", "wss://gpu.lab:443/p?q=1"),
    ],
)
def test_urls(host, url):
    assert ServerConfig(host=host).url == url


@pytest.mark.parametrize("host", ["", "http://gpu", "ws://", "ws://gpu:99999", "ws://a:b@gpu"])
def test_hosts_that_make_no_url_are_refused(host):
    with pytest.raises(BackendError, match="policy server"):
        OpenpiClient(ServerConfig(host=host))


# Servers that misbehave ---------------------------------------------------------------------------


def test_a_text_frame_is_the_servers_failure(policy_server, connect):
    policy_server.answer = lambda _: "Traceback:\n  File 'x'\nKeyError: 'state'\n\n"
    client = connect(policy_server.port)
    with pytest.raises(BackendError, match=r"failed: KeyError: 'state'$") as caught:
        client.infer(REQUEST)
    assert not isinstance(caught.value, BackendUnavailableError)
    policy_server.answer = lambda _: {"actions": np.zeros((1, 14))}
    assert client.infer(REQUEST)["actions"].shape == (1, 14)
    assert policy_server.connections == 2


def test_a_long_traceback_is_cut(policy_server, connect):
    policy_server.answer = lambda _: "x" * 100_000
    with pytest.raises(BackendError) as caught:
        connect(policy_server.port).infer(REQUEST)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"\xc1rubbish", "bad answer: .* not a MessagePack message"),
        (b"", "bad answer"),
        (packed([1, 2]), "the answer must be a map, got list"),
        (packed({b"__ndarray__": True}), "bad answer: an array has the keys"),
    ],
)
def test_rubbish_is_an_error_and_the_connection_is_given_up(policy_server, connect, answer, says):
    policy_server.answer = lambda _: answer
    client = connect(policy_server.port)
    with pytest.raises(BackendError, match=says) as caught:
        client.infer(REQUEST)
    assert not isinstance(caught.value, BackendUnavailableError)
    assert not client.connected


@pytest.mark.parametrize("metadata", [b"\xc1", packed(3), "starting up"])
def test_bad_metadata_is_an_error(policy_server, connect, metadata):
    policy_server.metadata = metadata
    with pytest.raises(BackendError, match=r"metadata|failed: starting up"):
        connect(policy_server.port).connect()


def test_a_message_over_the_limit_is_refused(policy_server, connect):
    policy_server.answer = lambda _: bytes(5000)
    with pytest.raises(BackendError, match="more than 4000 bytes"):
        connect(policy_server.port, max_message_bytes=4000).infer(REQUEST)


@pytest.mark.parametrize("size", [5000, 20_000_000])
def test_an_observation_over_the_servers_limit_is_named_as_ours(limited_server, connect, size):
    """The server closes while the rest of a large one is still on its way."""
    with pytest.raises(BackendError, match="takes no observation of this size") as caught:
        connect(limited_server).infer({"images": np.zeros(size, np.uint8)})
    assert not isinstance(caught.value, BackendUnavailableError)


def test_an_answer_nobody_asked_for_is_not_taken_for_the_next(policy_server, connect):
    def frame(n):
        message = packed({"actions": np.zeros((1, 14)), "n": n})
        return Frame(Opcode.BINARY, message).serialize(mask=False)

    def twice(observation):
        if len(policy_server.requests) == 1:
            (connection,) = policy_server._open
            connection.socket.sendall(frame(1) + frame("unasked"))
            return None
        return {"actions": np.zeros((1, 14)), "n": len(policy_server.requests)}

    policy_server.answer = twice
    client = connect(policy_server.port)
    assert client.infer(REQUEST)["n"] == 1
    assert client.infer(REQUEST)["n"] == 2
    assert policy_server.connections == 2


def test_requests_that_cannot_be_sent_leave_the_connection_alone(policy_server, connect):
    client = connect(policy_server.port)
    client.connect()
    with pytest.raises(WireFormatError):
        client.infer({"state": np.array([None])})
    assert client.connected


# Servers that are slow, gone or back --------------------------------------------------------------


def test_a_slow_answer_is_given_up_and_never_taken_for_a_later_one(policy_server, connect):
    given_up = threading.Event()

    def slow(observation):
        n = len(policy_server.requests)
        if n == 1:
            assert given_up.wait(10.0)
        return {"actions": np.full((1, 14), n)}

    policy_server.answer = slow
    client = connect(policy_server.port, answer_timeout_s=0.3)
    with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.3 s"):
        client.infer(REQUEST)
    given_up.set()
    assert client.infer(REQUEST, timeout_s=5.0)["actions"][0, 0] == 2


def test_a_server_that_reads_nothing_does_not_hold_us(raw_server, connect):
    """The handshake goes well, then nothing is read: sending blocks when the buffers are full."""
    release = threading.Event()

    def deaf(peer):
        protocol = ServerProtocol()
        while not (events := protocol.events_received()):
            protocol.receive_data(peer.recv(65536))
        assert isinstance(events[0], Request)
        protocol.send_response(protocol.accept(events[0]))
        protocol.send_binary(packed({}))
        peer.sendall(b"".join(protocol.data_to_send()))
        release.wait(10.0)

    server = raw_server(deaf)
    client = connect(server.port, answer_timeout_s=0.4)
    client.connect()
    began = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.4 s"):
        client.infer({"images": np.zeros(60_000_000, np.uint8)})
    assert time.monotonic() - began < 5.0
    release.set()


def test_half_a_message_is_given_up(policy_server, connect):
    def half(observation):
        (connection,) = policy_server._open
        frame = Frame(Opcode.BINARY, bytes(100), fin=False).serialize(mask=False)
        connection.socket.sendall(frame[:60])
        time.sleep(0.5)
        return b""

    policy_server.answer = half
    client = connect(policy_server.port, answer_timeout_s=0.3)
    with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.3 s"):
        client.infer(REQUEST)


def test_a_connection_cut_in_the_middle_of_an_answer(policy_server, connect):
    def cut(observation):
        (connection,) = policy_server._open
        frame = Frame(Opcode.BINARY, bytes(100)).serialize(mask=False)
        connection.socket.sendall(frame[:60])
        connection.socket.shutdown(socket.SHUT_RDWR)
        return b""

    policy_server.answer = cut
    client = connect(policy_server.port)
    with pytest.raises(BackendUnavailableError, match="closed the connection"):
        client.infer(REQUEST)


def test_nobody_listens(connect):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    with pytest.raises(BackendUnavailableError, match=rf"{url} cannot be reached: .*refused"):
        connect(port).connect()


def test_an_unknown_host_is_named(connect):
    with pytest.raises(BackendUnavailableError, match=r"ws://no-such-host\.invalid:8000 cannot be"):
        connect(8000, host="no-such-host.invalid").connect()


def test_a_silent_server_is_given_up(raw_server, connect):
    release = threading.Event()
    server = raw_server(lambda _: release.wait(10.0))
    began = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=r"no connection within 0\.3 s"):
        connect(server.port, connect_timeout_s=0.3).connect()
    assert time.monotonic() - began < 5.0
    release.set()


def test_a_server_that_sends_no_metadata_is_given_up(policy_server, connect):
    policy_server._talk = lambda _: time.sleep(0.8)
    with pytest.raises(BackendUnavailableError, match=r"no connection within 0\.3 s"):
        connect(policy_server.port, connect_timeout_s=0.3).connect()


def test_a_server_that_hangs_up(raw_server, connect):
    server = raw_server(lambda _: None)
    with pytest.raises(BackendUnavailableError):
        connect(server.port).connect()


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", BackendError, "does not speak the WebSocket protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", BackendError, "HTTP status 200"),
        (
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            BackendError,
            "HTTP status 401; is the API key right",
        ),
        (
            b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            BackendUnavailableError,
            "HTTP status 503",
        ),
    ],
)
def test_something_else_listens(raw_server, connect, reply, kind, says):
    def answer(peer):
        peer.recv(65536)
        peer.sendall(reply)
        peer.recv(65536)

    with pytest.raises(BackendError, match=says) as caught:
        connect(raw_server(answer).port).connect()
    assert type(caught.value) is kind


def test_a_server_that_comes_back_is_found_again(policy_server, connect):
    client = connect(policy_server.port)
    client.infer(REQUEST)
    policy_server.stop()
    with pytest.raises(BackendUnavailableError):
        client.infer(REQUEST)
    policy_server.start()
    assert client.infer(REQUEST)["actions"].shape == (50, 14)


def test_a_restart_between_two_questions_is_not_noticed(policy_server, connect):
    client = connect(policy_server.port)
    client.infer(REQUEST)
    policy_server.stop()
    policy_server.start()
    assert client.infer(REQUEST)["actions"].shape == (50, 14)


def test_pauses_between_attempts_grow_to_the_longest(connect):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = connect(port, backoff_s=0.05, max_backoff_s=0.2)
    began, ends = time.monotonic(), []
    for _ in range(6):
        with pytest.raises(BackendUnavailableError):
            client.connect()
        ends.append(time.monotonic() - began)
    waits = np.diff(ends)
    assert (waits >= [0.05, 0.1, 0.2, 0.2, 0.2]).all()
    assert waits[3:].sum() < 1.0  # 1.2 s if they went on growing


@pytest.mark.parametrize("during", ["infer", "connect", "pause"])
def test_interrupting_ends_any_wait(policy_server, raw_server, connect, during):
    release = threading.Event()
    if during == "infer":
        policy_server.answer = lambda _: release.wait(10.0) and {}
        client = connect(policy_server.port, answer_timeout_s=10.0)
    elif during == "connect":
        server = raw_server(lambda _: release.wait(10.0))
        client = connect(server.port, connect_timeout_s=10.0)
    else:
        server = raw_server(lambda _: None)
        client = connect(server.port, backoff_s=10.0, max_backoff_s=10.0)
        with pytest.raises(BackendUnavailableError):
            client.connect()
    threading.Timer(0.2, client.interrupt).start()
    began = time.monotonic()
    with pytest.raises(BackendUnavailableError, match="the client was closed"):
        client.infer(REQUEST)
    assert time.monotonic() - began < 5.0
    release.set()
