#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The published schema and dyield's own reader, each checked by the other.

usage: schema_test.py DYIELD
"""
import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema

HERE = pathlib.Path(__file__).resolve().parent
SCHEMA = json.loads((HERE / "schema/result-2.schema.json").read_text())
# Recorded in the lab.
RESULT = json.loads((HERE / "testdata/mainline.json").read_text())
DYIELD = sys.argv[1]


def schema_accepts(document):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def dyield_accepts(document):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "r.json"
        path.write_text(json.dumps(document))
        done = subprocess.run([DYIELD, "compare", path, path], capture_output=True, text=True, check=False)
    return done.returncode == 0


def put(*path):
    """A change that puts the last of `path` where the others lead."""
    def change(document):
        for key in path[:-2]:
            document = document[key]
        document[path[-2]] = path[-1]
    return change


def drop(*path):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]
    return change


DAMAGE = [
    *(drop(key) for key in RESULT if key != "runs"),
    *(drop("runs", 0, key) for key in RESULT["runs"][0]),
    *(drop("dimensions", key) for key in ("workload", "vcpus", "vms", "cpus")),
    drop("tool", "version"),
    drop("runs", 0, "counts", "ipis", "unit"),
    drop("environment", "lab", "machine"),
    put("schema", "dyield.result/3"),
    put("extra", 1),
    put("kernel", ""),
    put("tool", "command", [1]),
    put("environment", None),
    put("environment", "cpu_model", 7),
    put("environment", "lab", "emulated", "yes"),
    put("dimensions", "vcpus", 0),
    put("dimensions", "list", []),
    put("runs", {}),
    put("runs", 0, "seed", -1),
    put("runs", 0, "seed", "1"),
    put("runs", 0, "seed", 1.5),
    put("runs", 0, "status", "done"),
    put("runs", 0, "status", "partial"),
    put("runs", 0, "reason", "a complete run has none"),
    put("runs", 0, "counts", {}),
    put("runs", 0, "counts", "speed", {"value": 1, "unit": "count"}),
    put("runs", 0, "counts", "ipis", "unit", "IPIs"),
    put("runs", 0, "counts", "ipis", "value", -1),
    put("runs", 0, "counts", "ipis", "value", "1"),
    put("runs", 0, "metrics", "recall", "unit", "percent"),
    put("runs", 0, "metrics", "recall", "value", None),
    put("runs", 0, "notes", "a note"),
]


# What dyield does not read, so that only the schema can refuse it.
DAMAGED_DETAIL = [
    put("environment", "build_ids", {"kvm": "no build ID"}),
    put("environment", "machine", 7),
    put("runs", 0, "detail", "startup_ns", -1),
    put("runs", 0, "detail", "probe_events_lost", "none"),
    put("runs", 0, "detail", "yields_by_target", [[-1]]),
    put("runs", 0, "detail", "histograms", "run_queue_delay", "unit", "us"),
    drop("runs", 0, "detail", "histograms", "run_queue_delay", "edges"),
    put("runs", 0, "detail", "perf", "guest_cycles", "absent", ""),
    put("runs", 0, "detail", "perf", "guest_cycles", "value", 0),
    drop("runs", 0, "detail", "perf", "context_switches", "value"),
]


def main():
    failed = []
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    if not schema_accepts(RESULT) or not dyield_accepts(RESULT):
        failed.append("a result from the lab is refused")
    for change in DAMAGE + DAMAGED_DETAIL:
        damaged = copy.deepcopy(RESULT)
        change(damaged)
        readers = [("the schema", schema_accepts), ("dyield", dyield_accepts)]
        for who, accepts in readers[:1] if change in DAMAGED_DETAIL else readers:
            if accepts(damaged):
                values = [cell.cell_contents for cell in change.__closure__]
                failed.append(f"{who} accepts a result after {change.__qualname__.split('.')[0]}{values}")
    # Every metric of dyield's table, as its shell completion names them, and no other.
    script = subprocess.run([DYIELD, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    table = set(re.search(r"'run --ci-metric'\) words='([^']*)'", script)[1].split())
    run = SCHEMA["$defs"]["run"]["properties"]
    published = set(run["counts"]["properties"]) | set(run["metrics"]["properties"])
    if table != published:
        failed.append(f"not both in the table of metrics and in the schema: {sorted(table ^ published)}")
    print("\n".join(failed) or f"{len(DAMAGE)} damaged results refused by both, {len(DAMAGED_DETAIL)} by the schema")
    return 1 if failed else 0


sys.exit(main())
