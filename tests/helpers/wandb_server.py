"""A W&B server on the loopback interface: enough of one for real SDK runs, sweeps and uploads.

It keeps what arrives (`runs`, `artifacts`, `sweeps`) in the shape in which a test wants to read it,
lists every call that it does not know (`unknown`; tests assert that it is empty), and answers a
mistake of its own with status 400, because the SDK waits for ever on a connection that is dropped.
W&B's own test server is a private image.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

ENTITY = "quad"
KEY = "0123456789abcdef0123456789abcdef01234567"  # the form of a key; opens nothing

Answer = dict[str, Any]
Variables = dict[str, Any]


@dataclass
class Run:
    """One run as the server knows it."""

    entity: str
    project: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)  # groupName, displayName, jobType, tags
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # file -> offset -> JSON
    files: dict[str, bytes] = field(default_factory=dict)
    writes: list[tuple[str, int]] = field(default_factory=list)  # (file, offset), as they came
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of the history, in order of their offset."""
        lines = self.lines.get("wandb-history.jsonl", {})
        return [json.loads(lines[offset]) for offset in sorted(lines)]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of the history without W&B's own columns."""
        return [
            {key: value for key, value in row.items() if not key.startswith("_")}
            for row in self.history
        ]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary without W&B's own keys."""
        lines = self.lines.get("wandb-summary.json", {})
        whole = json.loads(lines[max(lines)]) if lines else {}
        return {key: value for key, value in whole.items() if not key.startswith("_")}

    @property
    def values(self) -> dict[str, Any]:
        """The configuration as plain values, without W&B's own entry."""
        return {key: node["value"] for key, node in self.config.items() if key != "_wandb"}


class Server:
    """The stand-in; use as a context manager."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], Run] = {}  # (project, run id)
        self.artifacts: dict[str, dict[str, Any]] = {}  # id -> what was sent, and its files
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        self.keys: set[str] = set()
        self.calls: list[str] = []
        self._fault: Callable[[str], int | None] = lambda call: None
        self._lock = threading.RLock()
        self._count = itertools.count(1)
        self._httpd: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        """Variables that make the SDK use this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def __enter__(self) -> Server:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Listen, on the same port as before."""
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._httpd = _Quiet(("127.0.0.1", self._port), handler)
        self._port = self._httpd.server_address[1]
        threading.Thread(target=self._httpd.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Stop listening, as a server that died; what arrived is kept."""
        if self._httpd is not None:
            self._httpd.shutdown()
            self._httpd.server_close()
            self._httpd = None

    def fail(self, fault: Callable[[str], int | None]) -> None:
        """Ask `fault(call)` for a status before each answer; None answers properly."""
        self._fault = fault

    def run(self, name: str, project: str = "img2gps") -> Run:
        """The run with this id."""
        return self.runs[project, name]

    def forget(self) -> None:
        """Start anew: no runs, no faults."""
        for kept in (self.runs, self.artifacts, self.sweeps, self.views, self.unknown, self.calls):
            kept.clear()
        self._fault = lambda call: None

    # Calls. One method an operation, named after it in snake case.

    def answer(self, operation: str, variables: Variables) -> Answer:
        """The `data` of a GraphQL operation."""
        name = "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        method: Callable[[Variables], Answer] | None = getattr(self, name, None)
        if method is None:
            self.unknown.append(operation)
            raise LookupError(f"unknown operation {operation}")
        with self._lock:
            return method(variables)

    def _viewer(self, _: Variables) -> Answer:
        viewer = {
            "id": "u1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}",
            "name": ENTITY, "admin": False, "apiKeys": {"edges": []},
            "teams": {"edges": [{"node": {"name": ENTITY}}]},
        }  # fmt: skip
        return {"viewer": viewer}

    def _get_default_entity(self, _: Variables) -> Answer:
        return {"viewer": {"id": "u1", "entity": ENTITY}}

    def _server_features_query(self, _: Variables) -> Answer:
        return {"serverInfo": {"features": []}}

    def _organization_core_weave_organization_i_d(self, _: Variables) -> Answer:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _project(self, name: str) -> Answer:
        return {"id": name, "name": name, "entity": {"id": ENTITY, "name": ENTITY}}

    def _find(self, project: str, name: str) -> Run:
        return self.runs[project, name]

    def _upsert_bucket(self, sent: Variables) -> Answer:
        project, name = sent.get("project") or "uncategorized", sent.get("name") or sent["id"]
        inserted = (project, name) not in self.runs
        run = self.runs.setdefault(
            (project, name), Run(sent.get("entity") or ENTITY, project, name)
        )
        if sent.get("config"):
            run.config.update(json.loads(sent["config"]))
        known = {k: v for k, v in sent.items() if v is not None and k != "config"}
        run.fields.update(known)
        bucket = {
            "id": f"{project}/{name}", "name": name,
            "displayName": run.fields.get("displayName") or name, "description": None,
            "config": json.dumps(run.config), "sweepName": run.fields.get("sweep"),
            "project": self._project(project), "historyLineCount": len(run.history),
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _run_resume_status(self, sent: Variables) -> Answer:
        project = sent.get("project") or "uncategorized"
        run = self.runs.get((project, sent["name"]))
        bucket = None
        if run is not None:

            def tail(name: str) -> str:
                lines = run.lines.get(name, {})
                return json.dumps([lines[max(lines)]] if lines else [])

            summary = run.lines.get("wandb-summary.json", {})
            bucket = {
                "id": f"{project}/{run.name}", "name": run.name,
                "summaryMetrics": summary[max(summary)] if summary else "{}",
                "displayName": run.fields.get("displayName"),
                "logLineCount": len(run.lines.get("output.log", {})),
                "historyLineCount": len(run.lines.get("wandb-history.jsonl", {})),
                "eventsLineCount": len(run.lines.get("wandb-events.jsonl", {})),
                "historyTail": tail("wandb-history.jsonl"),
                "eventsTail": tail("wandb-events.jsonl"),
                "config": json.dumps(run.config), "tags": run.fields.get("tags") or [],
                "notes": "", "wandbConfig": json.dumps({"t": 1}),
            }  # fmt: skip
        return {"model": {**self._project(project), "bucket": bucket}}

    def _create_run_files(self, sent: Variables) -> Answer:
        place = f"{self.url}/storage/run/{sent['project']}/{sent['run']}"
        files = [{"name": name, "uploadUrl": f"{place}/{name}"} for name in sent["files"]]
        run_id = f"{sent['project']}/{sent['run']}"
        return {"createRunFiles": {"runID": run_id, "uploadHeaders": [], "files": files}}

    # Artifacts

    def _artifact_type(self, _: Variables) -> Answer:
        return {"project": {"artifact": None}}  # no artifact of this name yet

    def _create_artifact(self, sent: Variables) -> Answer:
        given = sent["input"]
        known = [k for k, a in self.artifacts.items() if a["clientID"] == given["clientID"]]
        number = known[0] if known else f"a{next(self._count)}"
        self.artifacts.setdefault(number, {**given, "files": {}, "state": "PENDING"})
        sequence = {"id": f"s{number}", "latestArtifact": None}
        return {
            "createArtifact": {
                "artifact": {
                    "id": number,
                    "state": self.artifacts[number]["state"],
                    "artifactSequence": sequence,
                }
            }
        }

    def _create_artifact_manifest(self, sent: Variables) -> Answer:
        number = sent["artifactID"]
        url = f"{self.url}/storage/artifact/{number}/{sent['name']}"
        file = {"id": f"f{number}", "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"m{number}", "file": file}}}

    def _update_artifact_manifest(self, sent: Variables) -> Answer:
        number = sent["artifactManifestID"].removeprefix("m")
        url = f"{self.url}/storage/artifact/{number}/wandb_manifest.json"
        file = {"id": f"f{number}", "uploadUrl": url, "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": f"m{number}", "file": file}}}

    def _create_artifact_files(self, sent: Variables) -> Answer:
        edges = []
        for spec in sent["input"]["artifactFiles"]:
            number = spec["artifactID"]
            path = f"artifact/{number}/{spec['name']}"
            node = {
                "id": path, "name": spec["name"], "displayName": spec["name"],
                "storagePath": path, "uploadUrl": f"{self.url}/storage/{path}",
                "uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": number},
            }  # fmt: skip
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, sent: Variables) -> Answer:
        artifact = self.artifacts[sent["artifactID"]]
        artifact["state"] = "COMMITTED"
        digest = artifact.get("digest", "")
        return {"commitArtifact": {"artifact": {"id": sent["artifactID"], "digest": digest}}}

    # Sweeps: a grid, handed out point by point, as the server does it

    def _upsert_sweep(self, sent: Variables) -> Answer:
        name = f"sweep{next(self._count)}"
        config = yaml.safe_load(sent["config"])
        axes = {key: spec["values"] for key, spec in config["parameters"].items()}
        points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        project = sent.get("projectName") or config.get("project")
        kept = {"config": config, "project": project, "points": points, "given": {}}
        self.sweeps[name] = kept
        sweep = {"name": name, "project": self._project(project)}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _sweep_with_runs(self, sent: Variables) -> Answer:
        config = self.sweeps[sent["sweep"]]["config"]
        fields = dict.fromkeys(
            ("description", "createdAt", "heartbeatAt", "updatedAt", "earlyStopJobRunning")
        )
        more = dict.fromkeys(("bestLoss", "controller", "scheduler"))
        sweep = {
            "id": sent["sweep"], "name": sent["sweep"], "method": config["method"],
            "state": "RUNNING", "config": yaml.safe_dump(config), "runs": {"edges": []},
        }  # fmt: skip
        return {"project": {"sweep": {**fields, **more, **sweep}}}

    def _create_agent(self, sent: Variables) -> Answer:
        return {"createAgent": {"agent": {"id": sent["sweep"]}}}

    def _heartbeat(self, sent: Variables) -> Answer:
        sweep = self.sweeps[sent["id"]]
        commands: list[dict[str, Any]] = []
        if not any(json.loads(sent["runState"]).values()):
            if sweep["points"]:
                point = sweep["points"].pop(0)
                run_id = f"agent{next(self._count)}"
                sweep["given"][run_id] = point
                args = {key: {"value": value} for key, value in point.items()}
                commands = [{"type": "run", "run_id": run_id, "program": None, "args": args}]
            else:
                commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": sent["id"]}, "commands": json.dumps(commands)}}

    # Workspaces

    def _view(self, sent: Variables) -> Answer:
        # The client asks with the name as it is stored or without its frame (nw-...-v).
        asked = sent["viewName"].removeprefix("nw-").removesuffix("-v")
        found = [view for view in self.views if view["name"] == f"nw-{asked}-v"]
        nodes = [{"id": v["id"], "displayName": v["displayName"], "spec": v["spec"]} for v in found]
        return {"project": {"allViews": {"edges": [{"node": node} for node in nodes]}}}

    def _upsert_view2(self, sent: Variables) -> Answer:
        known = [view for view in self.views if view["id"] == sent.get("id")]
        view = known[0] if known else {"id": f"v{next(self._count)}"}
        view.update({key: value for key, value in sent.items() if key != "id"})
        if not known:
            self.views.append(view)
        answer = {"id": view["id"], "name": view["name"]}
        return {"upsertView": {"view": answer, "inserted": not known}}

    # HTTP

    def stream(self, project: str, name: str, body: dict[str, Any]) -> None:
        """One file_stream request."""
        with self._lock:
            run = self._find(project, name)
            for file, chunk in (body.get("files") or {}).items():
                lines = run.lines.setdefault(file, {})
                for number, line in enumerate(chunk.get("content") or []):
                    lines[chunk.get("offset", 0) + number] = line
                    run.writes.append((file, chunk.get("offset", 0) + number))
            if body.get("complete"):
                run.exit_code = body.get("exitcode")

    def store(self, path: str, body: bytes) -> None:
        """One PUT of a file."""
        kind, _, rest = path.partition("/")
        with self._lock:
            if kind == "run":
                project, name, file = rest.split("/", 2)
                self._find(project, name).files[file] = body
            elif kind == "artifact":
                number, file = rest.split("/", 1)
                self.artifacts[number]["files"][file] = body
            else:
                raise LookupError(path)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        self._guard(self._post)

    def do_PUT(self) -> None:
        self._guard(self._put)

    def do_GET(self) -> None:
        self._guard(self._get)

    def _guard(self, method: Callable[[str, bytes], tuple[Any, str]]) -> None:
        path = unquote(urlsplit(self.path).path)
        state = self.server_state
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if authorisation := self.headers.get("Authorization"):
                state.keys.add(base64.b64decode(authorisation.split()[1]).decode().split(":")[1])
            value, call = None, path
            if path == "/graphql":
                call = _operation(json.loads(body))
            state.calls.append(call)
            status = state._fault(call)
            if status is None:
                value, _ = method(path, body)
                status = 200
        except Exception:  # a dropped connection would make the SDK wait for ever
            status, value = 400, {"errors": [{"message": traceback.format_exc()}]}
            if not any(entry in traceback.format_exc() for entry in state.unknown):
                state.unknown.append(traceback.format_exc())
        payload = json.dumps(value).encode() if status == 200 or value else b"{}"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _post(self, path: str, body: bytes) -> tuple[Any, str]:
        if path == "/graphql":
            call = json.loads(body)
            operation = _operation(call)
            return {"data": self.server_state.answer(operation, call.get("variables") or {})}, ""
        if found := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
            self.server_state.stream(found[2], found[3], json.loads(body))
            return {}, ""
        self.server_state.unknown.append(f"POST {path}")
        raise LookupError(f"POST {path}")

    def _put(self, path: str, body: bytes) -> tuple[Any, str]:
        if path.startswith("/storage/"):
            self.server_state.store(path.removeprefix("/storage/"), body)
            return {}, ""
        self.server_state.unknown.append(f"PUT {path}")
        raise LookupError(f"PUT {path}")

    def _get(self, path: str, body: bytes) -> tuple[Any, str]:
        self.server_state.unknown.append(f"GET {path}")
        raise LookupError(f"GET {path}")


def _operation(call: dict[str, Any]) -> str:
    found = re.search(r"(?:query|mutation)\s+(\w+)", call["query"])
    return found[1] if found else "?"


def digest(content: bytes) -> str:
    """The base64 MD5 by which W&B names a file's content."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
