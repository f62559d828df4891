"""As much of a W&B server as `wandb sync` speaks to: answers that say yes, and a record of the rows that came."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback_server import serving

PROJECT = {"id": "P", "name": "rzero_mega", "entity": {"id": "E", "name": "me"}}
ARTIFACT = {
    "id": "A",
    "state": "COMMITTED",
    "artifactSequence": {"id": "S", "latestArtifact": {"id": "A", "versionIndex": 0}},
}


class WandbServer:
    """Listens on a free port of the loopback interface while its `with` block lasts."""

    def __init__(self) -> None:
        """Nothing listens yet. While `loses` is set, rows are refused."""
        self.rows: list[dict[str, Any]] = []
        self.loses = False
        self._listening = ExitStack()

    def __enter__(self) -> WandbServer:
        """Start listening."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_PUT(self) -> None:
                self._reply()

            def do_POST(self) -> None:
                self._reply()

            def _reply(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                refused = owner.loses and self.path.endswith("file_stream")
                text = b"{}" if refused else json.dumps(owner.answer(self.path, body)).encode()
                self.send_response(503 if refused else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.address = self._listening.enter_context(serving(Handler))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._listening.close()

    def steps(self, key: str) -> list[float]:
        """The values of a key, in the order in which rows came."""
        return [row[key] for row in self.rows if key in row]

    def answer(self, path: str, body: bytes) -> Any:
        """What a request is answered with; rows of histories are kept."""
        try:
            sent = json.loads(body)
        except ValueError:
            return {}
        if path.endswith("file_stream"):
            history = sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            self.rows += [json.loads(line) for line in history]
            return {"exitcode": None, "limits": {}}
        if not path.endswith("graphql"):
            return {}
        named = re.search(r"(?:query|mutation)\s+(\w+)", sent["query"])
        return {"data": self._data(named.group(1) if named else "", sent.get("variables") or {})}

    def _bucket(self) -> dict[str, Any] | None:
        """What W&B says of a run that has rows, when it is resumed."""
        if not self.rows:
            return None
        last = json.dumps([json.dumps({"_step": self.rows[-1]["_step"], "_runtime": 1})])
        lines = {"historyLineCount": len(self.rows), "logLineCount": 0, "eventsLineCount": 0}
        rest = {"summaryMetrics": "{}", "config": "{}", "wandbConfig": '{"t": 1}', "eventsTail": "[]", "tags": []}
        return {"id": "B", "name": "r", "displayName": "d", "notes": None, "historyTail": last, **lines, **rest}

    def _data(self, name: str, variables: dict[str, Any]) -> Any:
        if name == "Viewer":
            return {"viewer": {"id": "V", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if name == "UpsertBucket":
            bucket = {"id": "B", "name": variables.get("name"), "displayName": "d", "config": "{}", "project": PROJECT}
            return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}}
        if name == "RunResumeStatus":
            return {"model": {**PROJECT, "bucket": self._bucket()}}
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.address}/file"} for file in variables.get("files", [])]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if name == "CreateArtifact":
            return {"createArtifact": {"artifact": ARTIFACT}}
        return {}
