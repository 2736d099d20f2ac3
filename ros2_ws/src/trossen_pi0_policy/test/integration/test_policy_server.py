"""The policy server against openpi's own client, our client, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import logging
import re
import socket
import threading
import time

import msgpack
import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from trossen_pi0_core.errors import BackendError, ObservationError
from trossen_pi0_core.openpi import OpenpiClient, ServerConfig, packb, unpackb
from trossen_pi0_policy.serving import PolicyServer, ServeError, ServerOptions
from trossen_pi0_policy.serving.connection import MAX_NEWCOMERS

# openpi's client uses websockets in a way that its newest versions no longer recommend.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used:DeprecationWarning")

DEADLINE_S = 10.0
CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Waits until the condition yields something true, and returns it."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.002)
    return value


def observation(value=0.0, prompt="grab and handover the red cube"):
    picture = np.arange(3 * 224 * 224, dtype=np.uint32).astype(np.uint8).reshape(3, 224, 224)
    return {
        "state": np.full(14, value, np.float32),
        "images": dict.fromkeys(CAMERAS, picture),
        "prompt": prompt,
    }


class StatePolicy:
    """Answers 50 rows at the observed state, plus one hundredth of the mean of the pictures.

    Prompts: "hold" waits in the inference until ``go`` is set; "fail" fails there, "unsendable"
    answers what cannot be sent, "crash" fails in the preparation.
    """

    def __init__(self, max_batch=4):
        self.metadata = {"robot": "test kit", "reset_pose": np.zeros(14)}
        self.max_batch = max_batch
        self.go = threading.Event()
        self.batches = []
        self.threads = {"prepare": set(), "infer": set()}
        self.takes_s = 0.0

    def prepare(self, request):
        self.threads["prepare"].add(threading.current_thread().name.rpartition("_")[0])
        if request.get("prompt") == "crash":
            raise KeyError("secret detail")
        state = request.get("state")
        if not isinstance(state, np.ndarray) or state.shape != (14,):
            raise ObservationError(f"state: need 14 numbers, got {getattr(state, 'shape', state)}")
        pictures = np.stack(list(request["images"].values()))
        return state + pictures.mean() / 100.0, request["prompt"]

    def infer(self, prepared):
        self.threads["infer"].add(threading.current_thread().name)
        begun_s = time.perf_counter()
        prompts = [prompt for _, prompt in prepared]
        self.batches.append(prompts)
        if "hold" in prompts:
            assert self.go.wait(DEADLINE_S)
        if "fail" in prompts:
            raise RuntimeError("secret detail")
        time.sleep(self.takes_s)
        took_ms = (time.perf_counter() - begun_s) * 1e3
        return [
            {
                "actions": np.tile(state.astype(np.float32), (50, 1)),
                "policy_timing": {"infer_ms": took_ms},
                **({"made": object()} if prompt == "unsendable" else {}),
            }
            for state, prompt in prepared
        ]


@pytest.fixture
def policy():
    return StatePolicy()


@pytest.fixture
def serve(policy):
    """Starts servers; keyword arguments are options."""
    with contextlib.ExitStack() as stack:

        def make(api_key="", **options):
            options = {"port": 0, "shutdown_timeout_s": 2.0, **options}
            server = PolicyServer(policy, ServerOptions(**options), api_key=api_key)
            stack.enter_context(server)
            stack.callback(policy.go.set)
            return server

        yield make


@pytest.fixture
def peers():
    """Opens clients and closes them at the end."""
    with contextlib.ExitStack() as stack:

        class Peers:
            def raw(self, server, **settings):
                made = stack.enter_context(
                    connect(f"ws://127.0.0.1:{server.port}", compression=None, **settings)
                )
                made.metadata = made.recv(timeout=DEADLINE_S)
                return made

            def theirs(self, server, api_key=None):
                made = WebsocketClientPolicy("127.0.0.1", server.port, api_key)
                stack.callback(made._ws.close)
                return made

            def ours(self, server, **config):
                made = OpenpiClient(ServerConfig(port=server.port, **config))
                stack.callback(made.close)
                return made

        yield Peers()


def ask(connection, request):
    """The server's answer to an observation."""
    connection.send(packb(request))
    return unpackb(connection.recv(timeout=DEADLINE_S))


def get(server, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def value_of(answer):
    return float(answer["actions"][0, 0])


# All well -----------------------------------------------------------------------------------------


def test_openpis_client(serve, policy, peers):
    client = peers.theirs(serve())
    metadata = client.get_server_metadata()
    assert metadata["robot"] == "test kit"
    np.testing.assert_array_equal(metadata["reset_pose"], np.zeros(14))
    answers = [client.infer(observation(value)) for value in (1.0, 2.0, 3.0)]
    for value, answer in zip((1.0, 2.0, 3.0), answers, strict=True):
        assert answer["actions"].shape == (50, 14)
        assert answer["actions"].dtype == np.float32
        np.testing.assert_allclose(answer["actions"], value + 1.275, rtol=1e-3)
        assert answer["policy_timing"]["infer_ms"] >= 0.0
        timing = answer["server_timing"]
        assert timing["infer_ms"] >= answer["policy_timing"]["infer_ms"]
    assert [("prev_total_ms" in answer["server_timing"]) for answer in answers] == [
        False,
        True,
        True,
    ]
    assert answers[2]["server_timing"]["prev_total_ms"] >= answers[1]["server_timing"]["infer_ms"]


def test_our_client(serve, peers):
    client = peers.ours(serve())
    assert client.connect()["robot"] == "test kit"
    first, second = (client.infer(observation(value)) for value in (1.0, 2.0))
    assert value_of(second) - value_of(first) == pytest.approx(1.0)
    assert "prev_total_ms" in second["server_timing"]


def test_inference_and_preparation_have_threads_of_their_own(serve, policy, peers):
    server = serve()
    for _ in range(3):
        ask(peers.raw(server), observation())
    assert policy.threads == {"prepare": {"policy-preparation"}, "infer": {"policy-inference"}}


def test_health_and_new_clients_during_a_long_inference(serve, policy, peers):
    server = serve()
    peers.raw(server).send(packb(observation(prompt="hold")))
    wait_until(lambda: policy.batches, "the inference")
    assert get(server, "/healthz") == (200, "OK\n")
    assert peers.theirs(server).get_server_metadata()["robot"] == "test kit"
    assert not policy.go.is_set()


def test_answers_are_not_held_back_by_the_network_stack(serve, peers, monkeypatch):
    seen = []
    original = PolicyServer._handle

    async def spy(self, connection, service):
        raw = connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        task = asyncio.ensure_future(original(self, connection, service))
        await asyncio.sleep(0)
        seen.append(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await task

    monkeypatch.setattr(PolicyServer, "_handle", spy)
    peers.raw(serve())
    assert wait_until(lambda: seen, "a connection")[0] != 0


def test_the_server_adds_no_waiting(serve, policy, peers):
    """Nothing polls or waits for the network stack, which takes 40 ms; no figure of its speed.

    Of the faster calls, since other programs take the processor of a test machine at times.
    """
    policy.takes_s = 0.01
    client = peers.ours(serve())
    request = observation()
    client.infer(request)
    added = []
    for _ in range(60):
        begun_s = time.perf_counter()
        answer = client.infer(request)
        took_ms = (time.perf_counter() - begun_s) * 1e3
        added.append(took_ms - answer["policy_timing"]["infer_ms"])
    assert np.percentile(added, 25) < 20.0


# Several clients ----------------------------------------------------------------------------------


def test_a_client_that_floods_does_not_starve_the_others(serve, policy, peers):
    policy.takes_s = 0.005
    server = serve()
    flood = peers.raw(server)
    ended = threading.Event()
    waiting = []
    infer = policy.infer

    def infer_and_look(prepared):
        answers = infer(prepared)
        waiting.append(queued(server))
        return answers

    policy.infer = infer_and_look
    message = packb(observation(prompt="flood"))

    def pour():
        with contextlib.suppress(ConnectionClosed, OSError):
            while not ended.is_set():
                flood.send(message)

    def drain():
        with contextlib.suppress(ConnectionClosed):
            for _ in flood:
                pass

    threads = [threading.Thread(target=work) for work in (pour, drain)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(policy.batches) > 3, "the flood")
        quiet = [peers.raw(server) for _ in range(2)]
        del policy.batches[:]
        for _ in range(10):
            for client in quiet:
                client.send(packb(observation(prompt="quiet")))
            for client in quiet:
                client.recv(timeout=DEADLINE_S)
        assert [prompt for (prompt,) in policy.batches].count("quiet") == 20
        assert ["flood"] in policy.batches
        # However much the one sends, it waits in the queue once, as the others do.
        assert max(waiting) <= 2
    finally:
        ended.set()
        flood.socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(DEADLINE_S)


def test_clients_take_turns(serve, policy, peers):
    server = serve()
    holder, pushy, modest = (peers.raw(server) for _ in range(3))
    holder.send(packb(observation(prompt="hold")))
    wait_until(lambda: policy.batches, "the inference")
    for _ in range(3):
        pushy.send(packb(observation(prompt="pushy")))
    wait_until(lambda: queued(server) == 1, "the first of the pushy client")
    modest.send(packb(observation(prompt="modest")))
    wait_until(lambda: queued(server) == 2, "the modest client")
    policy.go.set()
    for client, count in ((pushy, 3), (modest, 1)):
        for _ in range(count):
            client.recv(timeout=DEADLINE_S)
    assert policy.batches == [["hold"], ["pushy"], ["modest"], ["pushy"], ["pushy"]]


def queued(server):
    return server._worker._jobs.qsize()


def test_observations_of_several_clients_are_inferred_together(serve, policy, peers):
    server = serve(max_batch=3, batch_wait_ms=1000.0)
    clients = [peers.raw(server) for _ in range(3)]
    for i, client in enumerate(clients):
        client.send(packb(observation(float(i))))
    values = [value_of(unpackb(client.recv(timeout=DEADLINE_S))) for client in clients]
    assert np.diff(values).tolist() == pytest.approx([1.0, 1.0])
    assert [len(batch) for batch in policy.batches] == [3]


def test_one_client_does_not_wait_for_others_that_are_not_there(serve, policy, peers):
    client = peers.raw(serve(max_batch=3, batch_wait_ms=1000.0))
    begun_s = time.monotonic()
    for _ in range(3):
        ask(client, observation())
    assert time.monotonic() - begun_s < 1.0


def test_a_failure_in_a_batch_disturbs_nobody_else(serve, policy, peers):
    server = serve(max_batch=3, batch_wait_ms=1000.0)
    clients = [peers.raw(server) for _ in range(3)]
    for client, prompt in zip(clients, ("a", "fail", "b"), strict=True):
        client.send(packb(observation(prompt=prompt)))
    answers = [client.recv(timeout=DEADLINE_S) for client in clients]
    assert [isinstance(answer, str) for answer in answers] == [False, True, False]
    assert len(policy.batches[0]) == 3


# Bad requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"\xc1", "bad observation: 1 bytes are not a MessagePack message"),
        (b"", "bad observation: 0 bytes are not a MessagePack message"),
        (packb({"state": 1})[:-1], "bad observation: .* bytes are not a MessagePack message"),
        ("hello", "bad observation: it came as text, openpi's protocol is binary"),
        (packb([1, 2]), "bad observation: need a map with 'state', .* got list"),
        (packb({}), "bad observation: state: need 14 numbers, got None"),
        (packb({"state": np.zeros(7)}), r"bad observation: state: need 14 numbers, got \(7,\)"),
        (
            msgpack.packb(
                {"s": {b"__ndarray__": True, b"data": b"", b"dtype": "|O", b"shape": []}}
            ),
            "bad observation: dtype '.O' is not allowed",
        ),
        (packb(observation(prompt="crash")), r"cannot be prepared \(KeyError\); .* incident \d+$"),
        (
            packb(observation(prompt="fail")),
            r"the policy failed \(RuntimeError\); .* incident \d+$",
        ),
        (packb(observation(prompt="unsendable")), "answer cannot be sent: values of type object"),
    ],
)
def test_a_bad_request_is_answered_by_one_line_and_the_next_by_actions(
    serve, peers, caplog, message, says
):
    server = serve()
    client, other = peers.raw(server), peers.raw(server)
    with caplog.at_level(logging.WARNING):
        client.send(message)
        answer = client.recv(timeout=DEADLINE_S)
    assert isinstance(answer, str)
    assert re.search(says, answer), answer
    assert "\n" not in answer
    assert "secret detail" not in answer
    assert answer in caplog.text
    assert ("secret detail" in caplog.text) == ("incident" in answer)
    assert value_of(ask(client, observation(1.0))) == pytest.approx(2.275, rel=1e-3)
    assert value_of(ask(other, observation(1.0))) == pytest.approx(2.275, rel=1e-3)


def test_openpis_client_raises_what_was_wrong_and_goes_on(serve, peers):
    client = peers.theirs(serve())
    with pytest.raises(RuntimeError, match=r"state: need 14 numbers, got \(3,\)"):
        client.infer({**observation(), "state": np.zeros(3, np.float32)})
    assert client.infer(observation())["actions"].shape == (50, 14)


def test_our_client_raises_what_was_wrong_and_goes_on(serve, peers):
    client = peers.ours(serve())
    with pytest.raises(BackendError, match=r"failed: bad observation: state: need 14 numbers"):
        client.infer({**observation(), "state": np.zeros(3, np.float32)})
    assert client.infer(observation())["actions"].shape == (50, 14)


def test_the_same_complaint_is_logged_once(serve, peers, caplog):
    client = peers.raw(serve())
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            client.send(b"\xc1")
            client.recv(timeout=DEADLINE_S)
    assert caplog.text.count("not a MessagePack message") == 1


def test_an_oversized_message_ends_its_connection_only(serve, peers):
    server = serve(max_message_mb=1.0)
    client, other = peers.raw(server), peers.raw(server)
    client.send(bytes(2**20 + 1))
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=DEADLINE_S)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009
    assert "1048577" in caught.value.rcvd.reason
    assert ask(other, observation())["actions"].shape == (50, 14)
    with pytest.raises(BackendError):
        peers.ours(server).infer({"blob": np.zeros(2**20 + 1, np.uint8)})


# Who may connect ----------------------------------------------------------------------------------


def test_the_right_key_is_let_in_with_either_client(serve, peers):
    server = serve(api_key="s3cret")
    assert peers.theirs(server, "s3cret").infer(observation())["actions"].shape == (50, 14)
    assert peers.ours(server, api_key="s3cret").infer(observation())["actions"].shape == (50, 14)


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_missing_or_wrong_key_is_refused(serve, peers, key):
    server = serve(api_key="s3cret")
    with pytest.raises(InvalidStatus) as caught:
        peers.theirs(server, key)
    response = caught.value.response
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Api-Key"
    assert b"a valid API key is needed" in (response.body or b"")
    with pytest.raises(BackendError, match=r"HTTP status 401; is the API key right\?"):
        peers.ours(server, api_key=key or "").connect()


def test_health_needs_no_key(serve):
    assert get(serve(api_key="s3cret"), "/healthz") == (200, "OK\n")


def test_browsers_are_refused(serve):
    server = serve()
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{server.port}", origin="http://example.org")  # pyright: ignore[reportArgumentType]
    assert caught.value.response.status_code == 403


def test_no_more_clients_than_allowed(serve, peers):
    server = serve(max_connections=2)
    first, _ = peers.raw(server), peers.raw(server)
    with pytest.raises(InvalidStatus) as caught:
        peers.raw(server)
    assert caught.value.response.status_code == 503
    assert b"all 2 connections are taken" in (caught.value.response.body or b"")
    assert get(server, "/healthz") == (200, "OK\n")
    first.close()
    wait_until(lambda: len(server._gate.admitted) == 1, "the place of the first")
    assert ask(peers.raw(server), observation())["actions"].shape == (50, 14)


def test_something_that_is_no_client_is_dropped(serve, peers):
    server = serve(handshake_timeout_s=0.2)
    for words in (b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as raw:
            raw.sendall(words)
            with contextlib.suppress(ConnectionResetError):
                while raw.recv(4096):
                    pass
    assert get(server, "/")[0] == 426
    assert ask(peers.raw(server), observation())["actions"].shape == (50, 14)


def test_a_crowd_that_says_nothing_keeps_nobody_out(serve, peers):
    server = serve(max_connections=2, handshake_timeout_s=60.0)
    client = peers.raw(server)
    with contextlib.ExitStack() as crowd:
        for _ in range(MAX_NEWCOMERS + 10):
            address = ("127.0.0.1", server.port)
            crowd.enter_context(socket.create_connection(address, DEADLINE_S))
        assert get(server, "/healthz") == (200, "OK\n")
        assert ask(peers.raw(server), observation())["actions"].shape == (50, 14)
        assert ask(client, observation())["actions"].shape == (50, 14)
        assert len(server._gate._newcomers) <= MAX_NEWCOMERS


def test_a_wide_open_server_without_a_key_is_warned_about(serve, caplog):
    with caplog.at_level(logging.WARNING):
        serve(host="127.0.0.1")
        assert not caplog.text
        serve(host="0.0.0.0", api_key="s3cret")
        assert not caplog.text
        serve(host="0.0.0.0")
    assert "can be reached from other machines and no API key is set" in caplog.text


# Clients that go, or stall ------------------------------------------------------------------------


def test_a_request_whose_client_has_gone_is_not_inferred(serve, policy, peers):
    server = serve()
    holder, leaver, stayer = (peers.raw(server) for _ in range(3))
    holder.send(packb(observation(prompt="hold")))
    wait_until(lambda: policy.batches, "the inference")
    leaver.send(packb(observation(prompt="left")))
    wait_until(lambda: queued(server) == 1, "the request")
    leaver.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: len(server._sessions) == 2, "its end")
    stayer.send(packb(observation(prompt="stays")))
    policy.go.set()
    assert isinstance(stayer.recv(timeout=DEADLINE_S), bytes)
    assert policy.batches == [["hold"], ["stays"]]


def test_a_client_that_goes_during_its_inference_disturbs_nobody(serve, policy, peers, caplog):
    server = serve()
    leaver, stayer = peers.raw(server), peers.raw(server)
    leaver.send(packb(observation(prompt="hold")))
    wait_until(lambda: policy.batches, "the inference")
    leaver.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: len(server._sessions) == 1, "its end")
    policy.go.set()
    assert ask(stayer, observation())["actions"].shape == (50, 14)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_half_a_message_is_given_up_and_disturbs_nobody(serve, peers):
    server = serve(ping_timeout_s=0.2)
    staller, other = peers.raw(server), peers.raw(server)
    frame = Frame(Opcode.BINARY, packb(observation())).serialize(mask=True)
    staller.socket.sendall(frame[:1000])
    assert ask(other, observation())["actions"].shape == (50, 14)
    wait_until(lambda: len(server._sessions) == 1, "the end of the one that stalls")


def test_a_client_that_takes_no_answer_is_cut_off(serve, policy, peers):
    server = serve(send_timeout_s=0.2, ping_timeout_s=60.0)
    policy.metadata = {}
    stuck, other = peers.raw(server, max_queue=(0, 0)), peers.raw(server)
    session = next(s for s in server._sessions if str(stuck.local_address[1]) in s.name)
    raw = session._connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    big = np.zeros((50, 14))

    def infer(prepared):
        return [{"actions": big, "padding": bytes(20_000_000)} for _ in prepared]

    policy.infer, usual = infer, policy.infer
    stuck.send(packb(observation()))
    stuck.send(packb(observation()))
    wait_until(lambda: len(server._gate.admitted) == 1, "the place of the one that is stuck")
    policy.infer = usual
    assert ask(other, observation())["actions"].shape == (50, 14)


def test_an_idle_client_is_told_so(serve, peers):
    client = peers.raw(serve(idle_timeout_s=0.2))
    with pytest.raises(ConnectionClosed, match=r"1001 .*no observation for 0\.2 s"):
        client.recv(timeout=DEADLINE_S)


# Beginning and end --------------------------------------------------------------------------------


def test_answers_under_way_are_sent_before_the_end(serve, policy, peers):
    server = serve(shutdown_timeout_s=DEADLINE_S)
    busy, idle = peers.raw(server), peers.raw(server)
    busy.send(packb(observation(1.0, prompt="hold")))
    wait_until(lambda: policy.batches, "the inference")
    server.stop()
    with pytest.raises(ConnectionClosed, match=r"1001 .*the server is shutting down"):
        idle.recv(timeout=DEADLINE_S)
    policy.go.set()
    assert value_of(unpackb(busy.recv(timeout=DEADLINE_S))) == pytest.approx(2.275, rel=1e-3)
    with pytest.raises(ConnectionClosed, match=r"1001 .*the server is shutting down"):
        busy.recv(timeout=DEADLINE_S)
    server.__exit__(None, None, None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)


def test_what_takes_longer_than_the_limit_is_cut_off(policy, peers, caplog):
    server = PolicyServer(policy, ServerOptions(port=0, shutdown_timeout_s=0.2))
    with server:
        client = peers.raw(server)
        client.send(packb(observation(prompt="hold")))
        wait_until(lambda: policy.batches, "the inference")
        begun_s = time.monotonic()
        newcomer = socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
    assert time.monotonic() - begun_s < 5.0
    newcomer.close()
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=DEADLINE_S)
    assert "1 clients were cut off before their answer" in caplog.text
    assert "its thread is left behind" in caplog.text
    policy.go.set()


def test_a_connection_that_says_nothing_does_not_delay_the_end(policy):
    options = ServerOptions(port=0, handshake_timeout_s=60.0, shutdown_timeout_s=60.0)
    with PolicyServer(policy, options) as server:
        silent = socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
        wait_until(lambda: server._gate._newcomers, "the connection")
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 10.0
    silent.close()


def test_no_thread_is_left_when_it_has_ended(policy, peers):
    before = set(threading.enumerate())
    with PolicyServer(policy, ServerOptions(port=0)) as server:
        ask(peers.raw(server), observation())
    wait_until(
        lambda: not [t for t in set(threading.enumerate()) - before if "policy" in t.name],
        "the end of the threads",
    )
    gc.collect()


def test_a_port_in_use_is_named(serve, policy):
    port = serve().port
    with pytest.raises(ServeError, match=rf"127\.0\.0\.1, port {port}: the port is in use"):
        PolicyServer(policy, ServerOptions(port=port)).__enter__()


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("no-such-host.invalid", "cannot listen on no-such-host.invalid, port 0: "),
        ("192.0.2.1", "cannot listen on 192.0.2.1, port 0: "),
        ("a..b", "cannot listen on a..b, port 0: that is neither a name nor an address"),
    ],
)
def test_a_host_that_is_not_ours_is_named(policy, host, says):
    with pytest.raises(ServeError, match=says):
        PolicyServer(policy, ServerOptions(host=host, port=0)).__enter__()
