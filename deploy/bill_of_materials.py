"""Write a software bill of materials as CycloneDX 1.6 has it, in JSON: `make sbom`.

It lists the packages of requirements.lock as they are installed in this environment, each with its licence and what it
needs, and the npm packages that GraphiQL's files are built of. `scope` of a package: `required`, `optional` (an extra
needs it) or `excluded` (it builds the project). Digests of packages are in the lock. SOURCE_DATE_EPOCH sets the time,
so that the same environment gives the same bytes.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any, Final, TypeAlias

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Json: TypeAlias = dict[str, Any]

PROJECT: Final = "omnirelay-shards"
ROOT: Final = Path(__file__).parents[1]
VENDORED: Final = ROOT / "graph" / "http" / "graphiql_assets" / "SOURCES.json"
_SERIAL: Final = uuid.UUID("6f1a6a5e-2f0c-5d7b-9c53-6a1a6f0f3c11")
"""The namespace of serial numbers, each of which is the digest of what is listed."""


def locked() -> Iterator[str]:
    """Names of the packages that the lock has for this platform."""
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if re.match(r"[a-z]", line):
            requirement = Requirement(line.removesuffix("\\").strip())
            if requirement.marker is None or requirement.marker.evaluate():
                yield canonicalize_name(requirement.name)


def needs(package: Distribution, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """What it requires on this platform, with these extras."""
    for line in package.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def closure(extras: frozenset[str]) -> Mapping[str, set[str]]:
    """Of the project with these extras: what each package requires, by canonical name."""
    found: dict[str, set[str]] = {}
    asked: dict[str, frozenset[str]] = {}
    waiting = [(PROJECT, extras)]
    while waiting:
        name, wanted = waiting.pop()
        if name in asked and wanted <= asked[name]:
            continue
        asked[name] = asked.get(name, frozenset()) | wanted
        required = list(needs(distribution(name), asked[name]))
        found[name] = {canonicalize_name(requirement.name) for requirement in required}
        waiting += [(canonicalize_name(requirement.name), frozenset(requirement.extras)) for requirement in required]
    return found


def licences(package: Distribution) -> Sequence[Json]:
    """As the package states them: an SPDX expression, or else names."""
    stated = {name: package.metadata[name] for name in ("License-Expression", "License") if name in package.metadata}
    expression = stated.get("License-Expression")
    if expression:
        return [{"expression": expression}]
    classified = [
        classifier.rpartition(" :: ")[2]
        for classifier in package.metadata.get_all("Classifier", [])
        if classifier.startswith("License :: ")
    ]
    name = stated.get("License", "").strip()
    names = classified or ([name] if name and "\n" not in name else [])
    return [{"license": {"name": name}} for name in names]


def component(name: str, scope: str) -> Json:
    package = distribution(name)
    purl = f"pkg:pypi/{name}@{package.version}"
    stated = licences(package)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": package.version,
        "scope": scope,
        "purl": purl,
        **({"description": package.metadata["Summary"]} if "Summary" in package.metadata else {}),
        **({"licenses": stated} if stated else {}),
    }


def vendored(source: Mapping[str, Any]) -> Json:
    """An npm package that is built into GraphiQL's files."""
    purl = f"pkg:npm/{source['package'].replace('@', '%40')}@{source['version']}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": source["package"],
        "version": source["version"],
        "scope": "required",
        "purl": purl,
        "licenses": [{"expression": source["license"]}],
    }


def bill(time: dt.datetime) -> Json:
    """All of it. Raises PackageNotFoundError where a package of the lock is not installed."""
    required, optional = closure(frozenset()), closure(frozenset({"embedded"}))
    names = sorted({*locked(), *optional} - {PROJECT})
    scopes = {
        name: "required" if name in required else "optional" if name in optional else "excluded" for name in names
    }
    packages = [component(name, scopes[name]) for name in names]
    files = [vendored(source) for source in json.loads(VENDORED.read_text(encoding="utf-8"))]
    project = {**component(PROJECT, "required"), "type": "application"}
    refs = {name: part["bom-ref"] for name, part in zip(names, packages, strict=True)}
    edges = {
        name: optional.get(name) or {canonicalize_name(r.name) for r in needs(distribution(name))} for name in names
    }
    dependencies = [
        {
            "ref": project["bom-ref"],
            "dependsOn": sorted([*(refs[name] for name in optional[PROJECT]), *(part["bom-ref"] for part in files)]),
        },
        *(
            {"ref": refs[name], "dependsOn": sorted(refs[needed] for needed in edges[name] if needed in refs)}
            for name in names
        ),
    ]
    listed = {"components": [*packages, *files], "dependencies": dependencies}
    serial = uuid.uuid5(_SERIAL, json.dumps([project, listed], sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": time.isoformat().replace("+00:00", "Z"),
            "tools": {"components": [{"type": "application", "name": "deploy/bill_of_materials.py"}]},
            "lifecycles": [{"phase": "build"}],
            "component": project,
        },
        **listed,
    }


def main() -> None:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    time = dt.datetime.fromtimestamp(int(epoch), dt.UTC) if epoch else dt.datetime.now(dt.UTC).replace(microsecond=0)
    json.dump(bill(time), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
