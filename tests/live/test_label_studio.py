"""The whole loop against a real Label Studio, which is also killed in the middle of a push."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import labelfix
from labelfix.errors import UsageError
from labelfix.exporters.selecting import Selection
from labelfix.exporting import Serving, push

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

TOKEN = "0123456789abcdef0123456789abcdef01234567"
ROWS = 300
EXAMPLES = Path(__file__).parents[2] / "examples"
TOP = Selection(top=ROWS)


class Server:
    """Label Studio in a process group of its own; LABELFIX_LABEL_STUDIO names its executable."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        environment = {
            **os.environ,
            "COLLECT_ANALYTICS": "False",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "LATEST_VERSION_CHECK": "False",
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(EXAMPLES),
        }
        command = [
            os.environ.get("LABELFIX_LABEL_STUDIO", "label-studio"), "start", "-b", "--data-dir", str(self.data),
            "--internal-host", "127.0.0.1", "-p", str(self.port), "--username", "a@b.c", "--password", "secret-word",
            "--user-token", TOKEN, "--enable-legacy-api-token",
        ]  # fmt: skip
        log = (self.data.parent / "server.log").open("ab")
        self.process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        for _ in range(600):
            try:
                self.ask("GET", "/api/projects/")
            except OSError:
                assert self.process.poll() is None, (self.data.parent / "server.log").read_text()[-3000:]
                time.sleep(1)
            else:
                return self
        raise TimeoutError("Label Studio does not start")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(self, method: str, path: str, **body):
        import requests

        headers = {"Authorization": f"Token {TOKEN}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=120, **body)
        answer.raise_for_status()
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.content

    def project(self, name: str) -> int:
        return next(p["id"] for p in self.ask("GET", "/api/projects/")["results"] if p["title"] == name)

    def tasks(self, name: str) -> list[dict]:
        found = self.ask("GET", f"/api/tasks?project={self.project(name)}&page_size=1000&fields=all")
        return sorted(found["tasks"], key=lambda task: task["id"])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("label-studio") / "data")
    running.data.mkdir()
    running.start()
    yield running
    running.kill()


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)


def test_rows_go_out_in_order_are_answered_and_come_back_whole(server, clothing_run, truth, tmp_path):
    assert push(clothing_run, "label-studio", server.url, "clothes", TOP, Serving()) == (ROWS, ROWS)
    assert push(clothing_run, "label-studio", server.url, "clothes", TOP, Serving()) == (ROWS, 0)

    tasks = server.tasks("clothes")
    assert [task["data"]["position"] for task in tasks] == list(range(1, ROWS + 1))
    suspicion = [task["data"]["suspicion"] for task in tasks]
    assert suspicion == sorted(suspicion, reverse=True)
    shown = server.ask("GET", tasks[0]["data"]["image"])
    assert shown == (EXAMPLES / "clothing" / tasks[0]["data"]["sample_id"]).read_bytes()

    number = server.project("clothes")
    for position in range(1, ROWS + 1):
        # The first ones are asked for as an annotator's browser does; the rest would come in the same order.
        task = server.ask("GET", f"/api/projects/{number}/next/") if position <= 25 else tasks[position - 1]
        assert task["data"]["position"] == position
        value = {"choices": [truth[task["data"]["sample_id"]]]}
        result = [{"from_name": "answer", "to_name": "image", "type": "choices", "value": value}]
        server.ask("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": result})

    from labelfix_label_studio import LabelStudioServer

    answers = LabelStudioServer().pull(server.url, "clothes", tmp_path / "answers.json")
    merged = labelfix.merge(clothing_run, answers, tmp_path / "fixed.csv")
    assert sum(merged.decisions.values()) == ROWS
    assert (merged.open, merged.notes[1:]) == (0, ())
    fixed = labelfix.read(tmp_path / "fixed.csv", with_images=False)
    given = labelfix.read(EXAMPLES / "clothing" / "manifest.csv", with_images=False)
    asked = {task["data"]["sample_id"] for task in tasks}
    for id_, old, new in zip(given.ids, given.labels, fixed.labels, strict=True):
        assert fixed.classes[new] == (truth[id_] if id_ in asked else given.classes[old])
    assert int(fixed.trusted.sum()) == ROWS


def test_a_server_that_dies_in_the_middle_of_a_push_has_every_task_once_after_another(
    server, clothing_run, monkeypatch
):
    import labelfix_label_studio as plugin

    monkeypatch.setattr(plugin, "CHUNK", 15)
    monkeypatch.setattr(plugin, "TRIES", 3)
    outcome: list[Exception] = []

    def send() -> None:
        try:
            push(clothing_run, "label-studio", server.url, "killed", TOP, Serving())
        except plugin.ServerError as error:
            outcome.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    present = 0
    while not present and sender.is_alive():
        try:
            present = len(server.tasks("killed"))
        except StopIteration:  # the project is not there yet
            time.sleep(0.05)
    server.kill()
    sender.join()
    assert "run the same command again" in str(outcome[0])
    server.start()
    left = len(server.tasks("killed"))
    assert 0 < left < ROWS
    assert push(clothing_run, "label-studio", server.url, "killed", TOP, Serving()) == (ROWS, ROWS - left)
    tasks = server.tasks("killed")
    assert [task["data"]["position"] for task in tasks] == list(range(1, ROWS + 1))


def test_a_wrong_token_is_refused_without_being_shown(server, clothing_run, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "wrong-token-123")
    with pytest.raises(UsageError, match="refuses the token in LABEL_STUDIO_API_KEY") as error:
        push(clothing_run, "label-studio", server.url, "refused", TOP, Serving())
    assert "wrong-token-123" not in str(error.value)


def test_a_project_with_other_classes_is_not_touched(server, clothing_run):
    choices = '<Choices name="answer" toName="image"><Choice value="x"/></Choices>'
    config = f'<View><Image name="image" value="$image"/>{choices}</View>'
    server.ask("POST", "/api/projects/", json={"title": "others", "label_config": config})
    with pytest.raises(UsageError, match="offers other choices"):
        push(clothing_run, "label-studio", server.url, "others", TOP, Serving())
    assert server.tasks("others") == []
