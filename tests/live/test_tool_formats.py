"""The tools' own readers take what we write. They are large, so these tests run where CI has installed them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from labelfix import plugins
from labelfix.testing import Squares, make_queue

pytestmark = pytest.mark.live


def queue():
    return make_queue(["a", "b", "c"], ["cat", "dog"], [0.9, 0.5, 0.1], Squares(3))


def test_datumaro_reads_the_cvat_xml(tmp_path):
    import datumaro

    plugins.load("exporters", "cvat")().export(queue(), tmp_path / "q")
    found = datumaro.Dataset.import_from(str(tmp_path / "q"), "cvat")
    held = [item.annotations[0].attributes for item in found]
    assert [round(float(one["suspicion"]), 2) for one in held] == [0.9, 0.5, 0.1]
    assert [one["sample_id"] for one in held] == ["a", "b", "c"]


class Me(BaseHTTPRequestHandler):
    """The one question that Argilla's client asks before it lets anybody make settings: who am I?"""

    def do_GET(self):
        body = {"id": "00000000-0000-0000-0000-000000000001", "username": "u", "first_name": "u", "role": "owner",
                "inserted_at": "2024-01-01T00:00:00", "updated_at": "2024-01-01T00:00:00"}  # fmt: skip
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def test_argillas_own_classes_take_the_records(tmp_path):
    import argilla

    plugins.load("exporters", "argilla")().export(queue(), tmp_path / "q")
    server = HTTPServer(("127.0.0.1", 0), Me)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        argilla.Argilla(api_url=f"http://127.0.0.1:{server.server_port}", api_key="none")
        settings = argilla.Settings.from_json(tmp_path / "q" / ".argilla" / "settings.json")
        settings.validate()
        rows = json.loads((tmp_path / "q" / "records.json").read_text())
        records = [argilla.Record.from_dict(row) for row in rows]
    finally:
        server.shutdown()
    assert [record.id for record in records] == ["a", "b", "c"]
    assert [one.value for record in records for one in record.suggestions] == ["dog", "cat", "dog"]
    assert settings.questions["answer"].labels[:2] == ["cat", "dog"]
    assert {one.name for one in settings.metadata} >= {"suspicion", "queue"}
