#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What other programs make of `dyield report --format ktap` and `kcidb`: the kernel's own
parser of KTAP, and kcidb's schema. Each must also refuse what is damaged.

usage: machine_test.py DYIELD KERNEL-SOURCE
"""
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

import jsonschema

HERE = pathlib.Path(__file__).resolve().parent
SCHEMA = json.loads((HERE / "testdata/kcidb-5.0.schema.json").read_text())
DATA = HERE.parent / "compare/testdata"
MAINLINE, PATCHED = DATA / "mainline.json", DATA / "patched.json"
DYIELD, KUNIT = sys.argv[1], pathlib.Path(sys.argv[2]) / "tools/testing/kunit/kunit.py"
SKIP = 4
failed = []


def expect(what, condition):
    if not condition:
        failed.append(what)


def report(form, base, candidate):
    done = subprocess.run([DYIELD, "report", "--format", form, base, candidate], capture_output=True, text=True,
                          check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def few(path, runs):
    """The same result with so few runs that nothing can be decided."""
    result = json.loads(path.read_text())
    result["runs"] = result["runs"][:runs]
    return result


def newly_failed(path):
    """The same result, whose first run failed."""
    result = json.loads(path.read_text())
    result["runs"][0].update(status="failed", reason="a reason")
    return result


def kunit(ktap, folder):
    (folder / "ktap").write_text(ktap)
    parsed = folder / "parsed.json"
    subprocess.run([sys.executable, KUNIT, "parse", f"--json={parsed}", folder / "ktap"], capture_output=True,
                   check=False)
    return json.loads(parsed.read_text())


def check_ktap(folder):
    small = [folder / name for name in ("a.json", "b.json")]
    for path, source in zip(small, (MAINLINE, PATCHED)):
        path.write_text(json.dumps(few(source, 3)))
    for what, sides, key in (("better", (MAINLINE, PATCHED), "passed"), ("worse", (PATCHED, MAINLINE), "failed"),
                             ("too few runs", small, "skipped")):
        parsed = kunit(report("ktap", *sides), folder)
        expect(f"{what}: {parsed['misc']}", parsed["misc"][key] == 2 == parsed["misc"]["tests"]
               and parsed["misc"]["errors"] == 0)
        (cell,) = parsed["sub_groups"]
        expect(f"{what}: the cell's name is \"{cell['name']}\"", "unicast, 4 vCPUs x 1 VM on 2 CPUs" in cell["name"])
        expect(f"{what}: {cell['test_cases']}", [t["name"] for t in cell["test_cases"]] == ["shootdowns", "work"])
    failing = folder / "failing.json"
    failing.write_text(json.dumps(newly_failed(PATCHED)))
    parsed = kunit(report("ktap", MAINLINE, failing), folder)
    expect(f"a run that newly failed: {parsed['misc']}", (parsed["misc"]["failed"], parsed["misc"]["errors"]) == (1, 0))
    good = report("ktap", MAINLINE, PATCHED)
    for damage in ("  1..2\n", "  1..3\n"), ("  ok 2 work", "  ok 3 work"), ("KTAP version 1\n1..1", "1..1"):
        parsed = kunit(good.replace(*damage, 1), folder)
        expect(f"the kernel's parser takes {damage[1]!r} for {damage[0]!r}",
               parsed["misc"]["errors"] > 0 or parsed["misc"]["tests"] != 2)


def check_kcidb():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    good = json.loads(report("kcidb", MAINLINE, PATCHED))

    def errors(document):
        return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)]
    expect(f"kcidb's schema refuses {errors(good)[:3]}", not errors(good))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as failing:
        json.dump(newly_failed(PATCHED), failing)
        failing.flush()
        document = json.loads(report("kcidb", MAINLINE, failing.name))
    expect(f"kcidb's schema refuses {errors(document)[:3]}", not errors(document))
    expect("a run that newly failed is a failed test", [t["path"] for t in document["tests"] if t["status"] == "FAIL"]
           == ["dyield.unicast.completion"])
    expect("a test for each metric, with a number", sum("number" in test for test in good["tests"]) > 10)
    for change in (lambda d: d["tests"][0].update(status="OK"), lambda d: d["tests"][0].update(path="a b"),
                   lambda d: d["tests"][0].pop("build_id"), lambda d: d["builds"][0].update(id="none"),
                   lambda d: d["checkouts"][0].update(extra=1), lambda d: d["version"].update(minor=1),
                   lambda d: d["tests"][0]["number"].update(value="1"), lambda d: d["tests"][0].update(misc=None)):
        damaged = copy.deepcopy(good)
        change(damaged)
        expect("kcidb's schema takes a damaged document", errors(damaged))


def main():
    check_kcidb()
    if KUNIT.exists():
        with tempfile.TemporaryDirectory() as folder:
            check_ktap(pathlib.Path(folder))
    if failed:
        print("\n".join(failed))
        return 1
    if not KUNIT.exists():
        print(f"skipped: the kernel's KTAP parser is not in {KUNIT.parent}; run scripts/setup")
        return SKIP
    return 0


sys.exit(main())
