"""Downloads from a server on this machine that speaks what is needed of the storage API."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import numpy as np
import pytest

from trossen_pi0_policy.checkpoints import (
    DownloadError,
    DownloadInterruptedError,
    fetch,
    tokenizer_file,
    transfer,
)

CHUNK = 16 * 1024
FOLDER = "gs://bucket/ckpt/pi0"
CODE = f"""
import logging, sys
from trossen_pi0_policy.checkpoints import fetch, transfer
transfer.CHUNK_BYTES = {CHUNK}
print(fetch({FOLDER!r}))
"""


def content(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that were killed or gave up are no error here."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Storage:
    """Objects by ``bucket/key``, and how the server is to fail."""

    def __init__(self):
        self.objects: dict[str, bytes] = {}
        self.generations = Counter()
        self.hashes = ("md5Hash", "crc32c")
        self.damaged = set()
        self.served = []  # name, first byte, bytes of each answer that was sent to the end
        self.guard = threading.Lock()
        self.requests = 0
        self.under_way = 0
        self.refuse = {}  # part of a path to HTTP status
        self.cuts = 0  # so many answers end in the middle
        self.gate = threading.Event()  # answers wait for it, after the first `free`
        self.gate.set()
        self.free = 0
        self.page = 1000
        storage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with storage.guard:
                    storage.requests += 1
                    storage.under_way += 1
                try:
                    storage.answer(self)
                finally:
                    with storage.guard:
                        storage.under_way -= 1

            def log_message(self, format, *args):
                """Says nothing."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def put(self, name, data):
        self.objects[name] = data
        self.generations[name] += 1

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def bytes_served(self, name=None):
        return sum(count for other, _, count in self.served if name in (None, other))

    def answer(self, request):
        url = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        for part, status in self.refuse.items():
            if part in unquote(request.path):
                return self.say(request, status, {"error": {"code": status, "message": "refused"}})
        head, _, key = url.path.partition("/o/")
        bucket = head.split("/b/")[1].split("/")[0]
        if not key:
            return self.say(request, 200, self.listing(bucket, query))
        name = f"{bucket}/{unquote(key)}"
        generation = query.get("generation", str(self.generations[name]))
        if name not in self.objects or generation != str(self.generations[name]):
            return self.say(request, 404, {"error": {"code": 404, "message": "no such object"}})
        if url.path.startswith("/download/"):
            return self.send(request, name)
        return self.say(request, 200, self.resource(name))

    def resource(self, name):
        data = self.objects[name]
        hashes = {
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.Checksum(data).digest()).decode(),
        }
        return {
            "kind": "storage#object",
            "name": name.partition("/")[2],
            "bucket": name.partition("/")[0],
            "size": str(len(data)),
            "generation": str(self.generations[name]),
            **{key: hashes[key] for key in self.hashes},
        }

    def listing(self, bucket, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        keys = [name.partition("/")[2] for name in sorted(self.objects)]
        keys = [key for key in keys if key.startswith(prefix) and key > query.get("pageToken", "")]
        folders, items = set(), []
        for key in keys:
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                items.append(self.resource(f"{bucket}/{key}"))
        page = {"nextPageToken": items[self.page - 1]["name"]} if len(items) > self.page else {}
        answer = {"kind": "storage#objects", "items": items[: self.page], **page}
        return {**answer, "prefixes": sorted(folders)} if folders else answer

    def say(self, request, status, value):
        body = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def send(self, request, name):
        data = self.objects[name]
        first, last = request.headers["Range"].removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        if name in self.damaged:
            part = bytes(len(part))
        if len(self.served) >= self.free:
            self.gate.wait()
        request.send_response(206)
        request.send_header("Content-Length", str(len(part)))
        request.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        request.end_headers()
        if self.cuts:
            self.cuts -= 1
            request.wfile.write(part[: len(part) // 2])
            request.close_connection = True
            return
        request.wfile.write(part)
        self.served.append((name, int(first), len(part)))


@pytest.fixture
def storage(monkeypatch, tmp_path):
    monkeypatch.setenv("TROSSEN_PI0_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENPI_DATA_HOME", str(tmp_path / "openpi"))
    monkeypatch.setattr(transfer, "CHUNK_BYTES", CHUNK)
    made = Storage()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", made.url)
    yield made
    made.close()


@pytest.fixture
def folder(storage):
    """A folder of four objects, one of them empty, with a folder marker and a neighbour."""
    storage.put("bucket/ckpt/pi0/params/_METADATA", b"{}")
    storage.put("bucket/ckpt/pi0/params/d/one", content(10 * CHUNK + 7))
    storage.put("bucket/ckpt/pi0/params/d/two", content(3 * CHUNK, 1))
    storage.put("bucket/ckpt/pi0/empty", b"")
    storage.put("bucket/ckpt/pi0/", b"")
    storage.put("bucket/ckpt/pi0_other/x", b"other")
    return storage


def expected(storage, prefix="bucket/ckpt/pi0/"):
    return {
        name.removeprefix(prefix): data
        for name, data in storage.objects.items()
        if name.startswith(prefix) and name != prefix
    }


def on_disk(path):
    files = (file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def wait_until(condition, what, deadline_s=30.0):
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.01)


def run_fetch():
    return subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", "-c", CODE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_folder_arrives_whole_and_only_once(folder, tmp_path):
    folder.page = 2
    path = fetch(FOLDER + "/")
    assert path == tmp_path / "cache" / "downloads" / "bucket" / "ckpt" / "pi0"
    assert on_disk(path) == expected(folder)
    assert folder.bytes_served() == sum(map(len, expected(folder).values()))
    asked = folder.requests
    assert fetch(FOLDER) == path
    assert folder.requests == asked


def test_an_object_arrives_as_a_file(folder, tmp_path):
    path = fetch("gs://bucket/ckpt/pi0/params/d/two", cache_dir=tmp_path / "own")
    assert path == tmp_path / "own" / "bucket" / "ckpt" / "pi0" / "params" / "d" / "two"
    assert path.read_bytes() == folder.objects["bucket/ckpt/pi0/params/d/two"]


def test_a_folder_goes_on_from_a_part_of_it(folder):
    fetch(FOLDER + "/params/d")
    path = fetch(FOLDER)
    assert on_disk(path) == expected(folder)
    assert folder.bytes_served() == sum(map(len, expected(folder).values()))


def test_a_file_that_was_removed_from_the_cache_is_fetched_again(folder):
    path = fetch(FOLDER)
    (path / "params" / "d" / "two").unlink()
    folder.served.clear()
    assert on_disk(fetch(FOLDER)) == expected(folder)
    assert {name for name, _, _ in folder.served} == {"bucket/ckpt/pi0/params/d/two"}


def test_cut_connections_are_tried_again(folder):
    folder.cuts = 3
    assert on_disk(fetch(FOLDER)) == expected(folder)
    assert folder.bytes_served() == sum(map(len, expected(folder).values()))


def test_a_killed_download_goes_on_where_it_was(folder, tmp_path):
    folder.gate.clear()
    folder.free = 6
    process = run_fetch()
    cache = tmp_path / "cache" / "downloads"

    def arrived():
        files = [*(cache / "bucket").rglob("*"), *(cache / ".state").rglob("part")]
        return sum(file.stat().st_size for file in files if file.is_file())

    wait_until(lambda: arrived() >= 3 * CHUNK, "some chunks")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    there = arrived()
    folder.gate.set()
    wait_until(lambda: folder.under_way == 0, "the answers to the killed process")
    folder.served.clear()
    total = sum(map(len, expected(folder).values()))
    assert 3 * CHUNK <= there < total
    assert on_disk(fetch(FOLDER)) == expected(folder)
    assert folder.bytes_served() == total - there


def test_ctrl_c_ends_a_download_at_once_and_says_how_to_go_on(folder, tmp_path):
    folder.gate.clear()
    process = run_fetch()
    wait_until(lambda: folder.under_way >= 2, "reading")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0
    assert f"interrupted. What has arrived is kept in {tmp_path / 'cache'}" in errors
    assert errors.strip().endswith("KeyboardInterrupt")


def test_a_failing_server_leaves_what_arrived_and_says_how_to_go_on(folder, tmp_path):
    folder.refuse = {"params/d/two?alt": 410}  # a status that is not tried again
    with pytest.raises(DownloadInterruptedError) as failure:
        fetch(FOLDER)
    assert "gs://bucket/ckpt/pi0/params/d/two cannot be read" in str(failure.value)
    assert f"kept in {tmp_path / 'cache' / 'downloads'}: the same call" in str(failure.value)
    folder.refuse = {}
    before = folder.bytes_served()
    assert on_disk(fetch(FOLDER)) == expected(folder)
    assert before + 3 * CHUNK <= folder.bytes_served()


def test_an_object_that_changed_between_two_tries_starts_anew(folder, tmp_path, caplog):
    folder.gate.clear()
    folder.free = 6
    failures = []

    def attempt():
        with pytest.raises(DownloadInterruptedError) as failure:
            fetch(FOLDER)
        failures.append(failure)

    thread = threading.Thread(target=attempt)
    thread.start()
    part = tmp_path / "cache/downloads/.state/bucket/ckpt/pi0/params/d/one/part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0, "the first bytes")
    folder.refuse = {"alt=media": 410}
    folder.gate.set()
    thread.join(30)
    assert len(failures) == 1
    assert part.stat().st_size > 0
    folder.refuse = {}
    folder.put("bucket/ckpt/pi0/params/d/one", content(9 * CHUNK, 5))
    assert on_disk(fetch(FOLDER)) == expected(folder)
    assert "checksum" not in caplog.text


def test_an_object_that_changes_while_it_is_read_starts_anew(folder, caplog):
    folder.gate.clear()
    folder.free = 4
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(fetch(FOLDER)))
    thread.start()
    wait_until(lambda: len(folder.served) >= 4, "some chunks")
    folder.put("bucket/ckpt/pi0/params/d/one", content(9 * CHUNK, 5))
    folder.gate.set()
    thread.join(30)
    assert on_disk(outcome[0]) == expected(folder)
    assert "was replaced or deleted; it is downloaded anew" in caplog.text


@pytest.mark.parametrize("hashes", [("md5Hash", "crc32c"), ("crc32c",)])
def test_damaged_bytes_are_not_accepted(folder, hashes, tmp_path):
    folder.hashes = hashes
    folder.damaged = {"bucket/ckpt/pi0/params/d/two"}
    with pytest.raises(DownloadError, match="params/d/two: the checksum of what arrived"):
        fetch(FOLDER)
    assert not list((tmp_path / "cache" / "downloads" / "bucket").rglob("two"))
    folder.damaged.clear()
    assert on_disk(fetch(FOLDER)) == expected(folder)


def test_two_processes_fetch_once(folder):
    folder.gate.clear()
    processes = [run_fetch(), run_fetch()]
    wait_until(lambda: folder.requests >= 4, "requests")
    folder.gate.set()
    for process in processes:
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert out.strip().endswith("ckpt/pi0")
    assert folder.bytes_served() == sum(map(len, expected(folder).values()))


def test_what_is_not_there_is_told(storage):
    storage.put("bucket/other", b"x")
    with pytest.raises(DownloadError, match="gs://bucket/ckpt/pi0 does not exist"):
        fetch(FOLDER)


def test_a_missing_bucket_is_told(storage):
    storage.refuse = {"/b/bucket": 404}
    with pytest.raises(DownloadError, match="gs://bucket/ckpt/pi0 does not exist"):
        fetch(FOLDER)


@pytest.mark.parametrize("status", [401, 403])
def test_no_permission_is_told(folder, status):
    folder.refuse = {"/b/bucket": status}
    with pytest.raises(DownloadError, match=r"no permission to read gs://bucket/ckpt/pi0.*GOOGLE_"):
        fetch(FOLDER)


def test_objects_outside_of_the_folder_are_refused(folder):
    folder.put("bucket/ckpt/pi0/../../evil", b"x")
    with pytest.raises(DownloadError, match=r"outside of it: 'bucket/ckpt/pi0/../../evil'"):
        fetch(FOLDER)


def test_a_full_disk_is_told_before(folder, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10, 10, 1000))
    with pytest.raises(
        DownloadError, match=r"not enough space .* free 0\.00 GB; TROSSEN_PI0_CACHE"
    ):
        fetch(FOLDER)
    assert folder.bytes_served() == 0


def test_openpis_cache_is_used_where_it_has_everything(folder, tmp_path, caplog):
    copy = tmp_path / "openpi" / "bucket" / "ckpt" / "pi0"
    files = expected(folder)
    for name, data in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    assert fetch(FOLDER) == copy
    folder.refuse = {"/b/bucket": 410}
    assert fetch(FOLDER) == copy
    assert "using openpi's copy" in caplog.text
    assert folder.bytes_served() == 0
    folder.refuse = {}
    (copy / "params" / "d" / "two").unlink()
    assert fetch(FOLDER) != copy


def test_progress_counts_every_byte_once(folder, caplog):
    caplog.set_level(logging.INFO, "trossen_pi0_policy")
    told = []

    class Display:
        def __init__(self, *arguments):
            told.append(arguments)

        def __enter__(self):
            return told.append

        def __exit__(self, *_):
            return None

    fetch(FOLDER, progress=Display)
    total = sum(map(len, expected(folder).values()))
    assert told[0] == ("gs://bucket/ckpt/pi0", total, 0)
    assert sum(told[1:]) == total
    fetch("gs://bucket/ckpt/pi0_other")
    assert "gs://bucket/ckpt/pi0_other: downloading" in caplog.text


def test_a_tokeniser_that_cannot_be_had_names_the_option(storage):
    with pytest.raises(DownloadError, match="--tokenizer FILE"):
        tokenizer_file()
    storage.put("big_vision/paligemma_tokenizer.model", b"model")
    assert tokenizer_file().read_bytes() == b"model"
