"""A running Label Studio: tasks are pushed once each, in order, whatever happens on the way; answers are pulled."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from labelfix.errors import InputError, LabelfixError, UsageError
from labelfix.exporters.label_studio import LOCAL, labelling_config, tasks
from labelfix.exporters.queue import Queue
from labelfix.rundir import writing

TOKEN = "LABEL_STUDIO_API_KEY"  # noqa: S105 (the name of the variable)
CHUNK = 100
"""Tasks sent at once: small enough for any proxy, large enough to be quick."""
PAGE = 500
"""Tasks listed at once."""
TRIES = 6
"""So often a request is made before the server is given up: over about a minute."""
PATIENCE = 60.0
"""Seconds that one answer may take."""

Key = tuple[str, str]
"""Queue and id: what makes two tasks the same."""


class ServerError(LabelfixError):
    """The server cannot be reached, or fails."""

    exit_code = 3


class LabelStudioServer:
    """What `--push` and `labelfix pull` talk to. The token comes from LABEL_STUDIO_API_KEY."""

    def __init__(self, patience: float = PATIENCE, pause: float = 1.0) -> None:
        self.patience, self.pause, self.failures = patience, pause, 0

    def push(self, queue: Queue, url: str, project: str) -> int:
        """Make sure that each task is in the project once, in order, and return how many were new.

        Raises LabelfixError when the server refuses or stays away; the same push can then be made again.
        """
        wanted = {(queue.name, task["data"]["sample_id"]): task for task in tasks(queue)}
        api = _Api(url, self.patience, self.pause)
        number = _project(api, project, queue)
        if any(str(task["data"]["image"]).startswith(LOCAL) for task in wanted.values()):
            _serve_local(api, number, queue)
        before = present = _present(api, number)
        size = CHUNK
        while missing := [task for key, task in wanted.items() if key not in present]:
            size = self._send(api, number, missing, size)
            present = _present(api, number)
        _remove_doubles(api, number, set(wanted))
        return sum(key not in before for key in wanted)

    def pull(self, url: str, project: str, out: Path) -> Path:
        """Write the project's tasks with their annotations as Label Studio's JSON export, and return the file."""
        api = _Api(url, self.patience, self.pause)
        number = _find(api, project)
        if number is None:
            raise UsageError(f"{url}: there is no project {project!r}; check --project")
        found = api.get(f"/api/projects/{number}/export", exportType="JSON", download_all_tasks="true")
        with writing(out) as temporary:
            temporary.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        return out

    def _send(self, api: _Api, number: int, missing: list[dict[str, Any]], size: int) -> int:
        """Send what is missing in chunks, in order, and return the size that the server takes.

        After an answer that never came the server may still be at work: then wait until it is done, and look again.
        """
        at = 0
        while at < len(missing):
            chunk = missing[at : at + size]
            try:
                api.post(f"/api/projects/{number}/import", chunk, retry=False)
            except _TooLargeError as error:
                if size == 1:
                    raise ServerError(
                        f"{api.url}: even one task is too large for it; use --image-url"
                    ) from error
                size = max(1, size // 2)
                continue
            except _UnsureError:
                self.failures = api.failed(self.failures)
                _settle(api, number, self.pause)
                return size
            self.failures = 0
            at += len(chunk)
        return size


class _TooLargeError(Exception):
    """413."""


class _UnsureError(Exception):
    """Nobody knows whether the server did it."""


class _Api:
    """Requests with the token, retried with growing pauses where that is safe."""

    def __init__(self, url: str, patience: float, pause: float) -> None:
        token = os.environ.get(TOKEN, "")
        if not token:
            raise UsageError(
                f"the environment variable {TOKEN} is not set; it holds the token of your account"
            )
        if urlsplit(url).password:
            raise UsageError(f"the URL holds a password, which others can read; set {TOKEN} instead")
        self.url, self.patience, self.pause = url.rstrip("/"), patience, pause
        self.why, self.session, self.token = "", requests.Session(), token
        self.personal = token.count(".") == 2  # a JWT
        if not self.personal:
            self.session.headers["Authorization"] = f"Token {token}"

    def _authorise(self) -> None:
        """Change a personal access token for one that is valid a few minutes."""
        answer = self.session.post(
            f"{self.url}/api/token/refresh", json={"refresh": self.token}, timeout=self.patience,
            headers={"Authorization": None},
        )  # fmt: skip
        if answer.status_code >= 400:
            self._refused(answer, "/api/token/refresh")
            raise requests.exceptions.ConnectionError(f"status {answer.status_code}")
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access']}"

    def get(self, path: str, **parameters: Any) -> Any:
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: Any, retry: bool = True) -> Any:
        return self._ask("POST", path, retry, json=body)

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def failed(self, before: int) -> int:
        """Pause after a failure, longer the more came before it, and count it; raises ServerError for too many."""
        if before + 1 >= TRIES:
            raise ServerError(
                f"{self.url}: does not answer, or fails ({self.why}); when it is up, run the same command again: "
                f"nothing is lost and nothing doubled"
            )
        time.sleep(self.pause * 2**before)
        return before + 1

    def _ask(self, method: str, path: str, retry: bool = True, **body: Any) -> Any:
        failures = 0
        while True:
            try:
                answer = self._once(method, path, body)
            except requests.exceptions.InvalidURL as error:
                raise UsageError(f"{self.url}: is no URL of a server ({error}); check --push") from error
            except requests.exceptions.RequestException as error:
                self.why = type(error).__name__
            else:
                if answer.status_code < 400:
                    return answer.json() if answer.content else None
                self.why = f"status {answer.status_code}"
                self._refused(answer, path)
            if not retry:
                raise _UnsureError
            failures = self.failed(failures)

    def _once(self, method: str, path: str, body: dict[str, Any]) -> requests.Response:
        """Ask, with a fresh short-lived token where the old one has run out."""
        if self.personal and "Authorization" not in self.session.headers:
            self._authorise()
        answer = self.session.request(method, self.url + path, timeout=self.patience, **body)
        if self.personal and answer.status_code == 401:
            self._authorise()
            answer = self.session.request(method, self.url + path, timeout=self.patience, **body)
        return answer

    def _refused(self, answer: requests.Response, path: str) -> None:
        """Raise for what no repetition helps."""
        code = answer.status_code
        if code in {401, 403}:
            raise UsageError(
                f"{self.url}: refuses the token in {TOKEN} ({code}); copy it anew from your account"
            )
        if code == 413:
            raise _TooLargeError
        if code not in {408, 425, 429} and code < 500:
            raise InputError(f"{self.url}{path}: refused ({code}): {answer.text[:300]}")


def _find(api: _Api, name: str) -> int | None:
    page = 1
    while True:
        found = api.get("/api/projects/", page=page, page_size=100)
        for project in found["results"]:
            if project["title"] == name:
                return int(project["id"])
        if not found.get("next"):
            return None
        page += 1


def _project(api: _Api, name: str, queue: Queue) -> int:
    """Return the number of the project, made if there is none; raises UsageError if it offers other choices."""
    number = _find(api, name)
    config = labelling_config(queue)
    if number is None:
        body = {"title": name, "label_config": config, "sampling": "Sequential sampling",
                "maximum_annotations": queue.copies, "show_collab_predictions": not queue.blind}  # fmt: skip
        return int(api.post("/api/projects/", body)["id"])
    held = api.get(f"/api/projects/{number}/")["label_config"]
    if _choices(held) != _choices(config):
        raise UsageError(
            f"{api.url}: project {name!r} offers other choices than this run's classes; choose another --project"
        )
    return number


def _choices(config: str) -> set[str]:
    import xml.etree.ElementTree as ET

    return {choice.get("value", "") for choice in ET.fromstring(config).iter("Choice")}  # noqa: S314 (ours)


def _serve_local(api: _Api, number: int, queue: Queue) -> None:
    """Let the server show files below the images' directory, which it does for registered directories only."""
    path = str(Path(queue.root).absolute())
    stores = api.get("/api/storages/localfiles", project=number)
    if not any(store.get("path") == path for store in stores):
        try:
            api.post("/api/storages/localfiles", {"project": number, "path": path, "use_blob_urls": True})
        except InputError as error:
            raise UsageError(
                f"{api.url}: cannot serve the images in {path} ({error}); start it with "
                f"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="
                f"{Path(path).parent}, or give --image-url"
            ) from error


def _listed(api: _Api, number: int) -> list[tuple[Key, dict[str, Any]]]:
    """Return the project's tasks of ours, in order of their number."""
    found, page = [], 1
    while True:
        answer = api.get("/api/tasks", project=number, page=page, page_size=PAGE, fields="all")
        found += [
            ((str(task["data"].get("queue")), str(task["data"]["sample_id"])), task)
            for task in answer["tasks"]
            if "sample_id" in task["data"]
        ]
        if page * PAGE >= answer["total"]:
            return sorted(found, key=lambda one: int(one[1]["id"]))
        page += 1


def _present(api: _Api, number: int) -> set[Key]:
    return {key for key, _ in _listed(api, number)}


def _settle(api: _Api, number: int, pause: float) -> None:
    """Wait until no more tasks appear by themselves."""
    count = -1
    while count != (now := len(_listed(api, number))):
        count = now
        time.sleep(pause)


def _remove_doubles(api: _Api, number: int, ours: set[Key]) -> None:
    """Remove second copies that nobody has annotated: of a chunk that came through although its sender gave it up."""
    seen: set[Key] = set()
    for key, task in _listed(api, number):
        if key in ours and key in seen and not task.get("total_annotations"):
            api.delete(f"/api/tasks/{task['id']}/")
        seen.add(key)
