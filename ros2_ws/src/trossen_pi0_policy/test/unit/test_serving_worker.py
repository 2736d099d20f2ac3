"""The thread that infers: order, batches, failures and its end."""

from __future__ import annotations

import threading

import pytest

from trossen_pi0_policy.serving.worker import InferenceWorker

DEADLINE_S = 5.0


class Recorder:
    """Answers numbers with their doubles; the first inference waits until it is let go."""

    def __init__(self):
        self.batches = []
        self.threads = set()
        self.begun = threading.Event()
        self.go = threading.Event()
        self.max_batch = 8
        self.metadata = {}

    def prepare(self, request):
        return request

    def infer(self, prepared):
        self.threads.add(threading.current_thread().name)
        self.batches.append(list(prepared))
        self.begun.set()
        assert self.go.wait(DEADLINE_S)
        if "bad" in prepared:
            raise ValueError("bad one")
        if "mute" in prepared:
            return []
        return [{"actions": 2 * value} for value in prepared]


@pytest.fixture
def policy():
    return Recorder()


@pytest.fixture
def start(policy):
    workers = []

    def make(max_batch=1, wait_s=0.0, clients=8):
        worker = InferenceWorker(policy, max_batch, wait_s, lambda: clients)
        workers.append(worker)
        worker.start()
        return worker

    yield make
    policy.go.set()
    for worker in workers:
        assert worker.stop(DEADLINE_S)


def occupied(worker, policy):
    """Hands in a first observation and returns its future once it is being inferred."""
    future = worker.submit(0)
    assert policy.begun.wait(DEADLINE_S)
    return future


def test_first_come_first_served_on_one_named_thread(policy, start):
    worker = start()
    futures = [occupied(worker, policy), *(worker.submit(i) for i in (1, 2, 3))]
    policy.go.set()
    assert [f.result(DEADLINE_S).answer for f in futures] == [{"actions": i} for i in (0, 2, 4, 6)]
    assert policy.batches == [[0], [1], [2], [3]]
    assert policy.threads == {"policy-inference"}


def test_times_of_an_outcome(policy, start):
    worker = start()
    occupied(worker, policy)
    waiting = worker.submit(1)
    policy.go.set()
    outcome = waiting.result(DEADLINE_S)
    assert outcome.queue_ms > 0.0
    assert outcome.infer_ms >= 0.0
    assert outcome.error is None


def test_those_that_wait_are_inferred_together_up_to_the_limit(policy, start):
    worker = start(max_batch=3)
    futures = [occupied(worker, policy), *(worker.submit(i) for i in (1, 2, 3, 4))]
    policy.go.set()
    assert [f.result(DEADLINE_S).answer for f in futures][4] == {"actions": 8}
    assert policy.batches == [[0], [1, 2, 3], [4]]


def test_others_are_waited_for_while_there_can_be_some(policy, start):
    policy.go.set()
    worker = start(max_batch=2, wait_s=DEADLINE_S, clients=2)
    futures = [worker.submit(1), worker.submit(2)]
    assert [f.result(DEADLINE_S).answer for f in futures] == [{"actions": 2}, {"actions": 4}]
    assert policy.batches == [[1, 2]]


def test_nobody_is_waited_for_where_all_clients_have_asked(policy, start):
    policy.go.set()
    worker = start(max_batch=2, wait_s=60.0, clients=1)
    assert worker.submit(1).result(DEADLINE_S).answer == {"actions": 2}


def test_a_cancelled_job_is_not_inferred(policy, start):
    worker = start()
    futures = [occupied(worker, policy), worker.submit(1), worker.submit(2)]
    assert futures[1].cancel()
    policy.go.set()
    futures[2].result(DEADLINE_S)
    assert policy.batches == [[0], [2]]


@pytest.mark.parametrize("culprit", ["bad", "mute"])
def test_in_a_batch_that_fails_only_the_culprit_gets_no_answer(policy, start, culprit):
    worker = start(max_batch=3)
    futures = [occupied(worker, policy), *(worker.submit(i) for i in (1, culprit, 3))]
    policy.go.set()
    outcomes = [f.result(DEADLINE_S) for f in futures]
    assert [o.answer for o in outcomes] == [{"actions": 0}, {"actions": 2}, None, {"actions": 6}]
    says = {"bad": "bad one", "mute": "1 observations, but 0 answers"}[culprit]
    assert says in str(outcomes[2].error)
    assert policy.batches == [[0], [1, culprit, 3], [1], [culprit], [3]]
    assert worker.alive


def test_stopping_lets_the_inference_under_way_end_and_cancels_the_rest(policy, start):
    worker = start()
    under_way, waiting = occupied(worker, policy), worker.submit(1)
    assert not worker.stop(0.01)
    policy.go.set()
    assert worker.stop(DEADLINE_S)
    assert under_way.result(DEADLINE_S).answer == {"actions": 0}
    assert waiting.cancelled()
    assert not worker.alive
