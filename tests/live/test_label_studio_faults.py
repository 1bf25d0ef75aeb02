"""A server that fails on purpose: too large, broken, slow. Each task is there once in the end."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from labelfix.errors import UsageError
from labelfix.testing import make_queue

pytestmark = pytest.mark.live


class Faulty(ThreadingHTTPServer):
    """Speaks the few words of Label Studio that a push needs, and stumbles over imports as it is told."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Words)
        self.short_lived, self.issued, self.uses = False, 0, 0
        self.faults, self.tasks, self.config, self.lock = faults, [], "", threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def add(self, chunk: list[dict]) -> None:
        with self.lock:
            self.tasks += [{"id": len(self.tasks) + i, "data": task["data"]} for i, task in enumerate(chunk)]


class Words(BaseHTTPRequestHandler):
    server: Faulty

    def admitted(self) -> bool:
        """Each short-lived token is good for three requests."""
        if not self.server.short_lived:
            return True
        if self.headers.get("Authorization") != f"Bearer {self.server.issued}" or self.server.uses >= 3:
            self.answer(401, {})
            return False
        self.server.uses += 1
        return True

    def do_GET(self) -> None:
        if not self.admitted():
            return
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/api/projects/":
            held = [{"id": 1, "title": "faulty"}] if self.server.config else []
            self.answer(200, {"results": held, "next": None})
        elif path == "/api/tasks":
            page, size = int(query["page"][0]), int(query["page_size"][0])
            held = self.server.tasks[(page - 1) * size : page * size]
            self.answer(200, {"tasks": held, "total": len(self.server.tasks)})
        else:
            self.answer(200, {"label_config": self.server.config})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/token/refresh":
            assert body == {"refresh": "a.b.c"}
            self.server.issued, self.server.uses = self.server.issued + 1, 0
            self.answer(200, {"access": str(self.server.issued)})
            return
        if not self.admitted():
            return
        if self.path == "/api/projects/":
            self.server.config = body["label_config"]
            self.answer(201, {"id": 1})
            return
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault == "half":  # dies after it has written some
            self.server.add(body[: len(body) // 2])
        if fault == "slow":  # does it all, but only after the sender has given up
            time.sleep(1.5)
            self.server.add(body)
        if fault in {"500", "half"}:
            self.answer(500, {})
        elif fault == "413" or (len(body) > 30 and fault == "small"):
            self.answer(413, {})
        else:
            if fault != "slow":
                self.server.add(body)
            self.answer(201, {})

    def do_DELETE(self) -> None:
        number = int(self.path.strip("/").split("/")[-1])
        self.server.tasks = [task for task in self.server.tasks if task["id"] != number]
        self.answer(204, {})

    def answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the sender has gone
            pass

    def log_message(self, *_) -> None:
        pass


def queue(rows: int = 250):
    return make_queue([f"r{i}" for i in range(rows)], ["cat", "dog"], [1 - i / rows for i in range(rows)])


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "t0ken")


@pytest.mark.parametrize(
    "faults",
    [["500", "500"], ["half", "half", "500"], ["413", "413"], ["slow"], ["", "slow", "half"]],
    ids="+".join,
)
def test_every_task_is_there_once_and_in_order(faults):
    from labelfix_label_studio import LabelStudioServer

    server = Faulty(list(faults))
    pushed = LabelStudioServer(patience=1.0, pause=0.6).push(queue(), server.url, "faulty")
    assert pushed == 250
    assert [task["data"]["position"] for task in server.tasks] == list(range(1, 251))
    assert LabelStudioServer(patience=1.0, pause=0.1).push(queue(), server.url, "faulty") == 0
    assert max(Counter(task["data"]["sample_id"] for task in server.tasks).values()) == 1


def test_a_server_that_only_fails_is_given_up_and_says_what_to_do():
    from labelfix_label_studio import LabelStudioServer, ServerError

    server = Faulty(["500"] * 50)
    with pytest.raises(ServerError, match="run the same command again"):
        LabelStudioServer(patience=1.0, pause=0.01).push(queue(), server.url, "faulty")


def test_without_a_token_nothing_is_asked(monkeypatch):
    from labelfix_label_studio import LabelStudioServer

    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    with pytest.raises(UsageError, match="LABEL_STUDIO_API_KEY is not set"):
        LabelStudioServer().push(queue(), "http://127.0.0.1:9", "faulty")


def test_a_personal_access_token_is_renewed_when_it_runs_out(monkeypatch):
    from labelfix_label_studio import LabelStudioServer

    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a.b.c")
    server = Faulty([])
    server.short_lived = True
    assert LabelStudioServer(patience=1.0, pause=0.1).push(queue(), server.url, "faulty") == 250
    assert server.issued > 1
    assert len(server.tasks) == 250


def test_a_url_with_a_password_is_refused_without_being_shown():
    from labelfix_label_studio import LabelStudioServer

    with pytest.raises(UsageError, match="holds a password") as error:
        LabelStudioServer().push(queue(), "http://me:hidden@127.0.0.1:9", "faulty")
    assert "hidden" not in str(error.value)
