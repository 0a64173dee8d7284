"""Hold the versions in ``constraints.txt`` against the advisories of the Python Package Index, by pip-audit.

python docker/audit.py PIP_AUDIT

Exit code 0: every package was looked up, and none has a known advisory; 1: some have; 3: some could not be looked up.
pip-audit itself says "No known vulnerabilities found" and ends with 0 where it looked nothing up.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).with_name("constraints.txt")


def judge(report: str, *, errors: str) -> tuple[int, str]:
    """Read a report of pip-audit (``--format json``): the exit code, and a line for people."""
    try:
        packages = json.loads(report)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        return 3, f"nothing was audited: {last}"
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    found = [f"{one['name']} {one['version']}: {v['id']}" for one in packages for v in one.get("vulns", [])]
    told = f"{len(packages) - len(skipped)} of {len(packages)} packages were looked up"
    if found:
        return 1, f"{told}; advisories: {'; '.join(found)}"
    if skipped:
        return 3, f"{told}: the advisory service does not know, or did not answer for {', '.join(skipped[:3])} …"
    return 0, f"{told}, and none has a known advisory"


def main() -> int:
    """Audit, and say how it ended."""
    line = [sys.argv[1], "--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "-r", str(PINS)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    code, told = judge(done.stdout, errors=done.stderr)
    sys.stderr.write(f"{'audit' if code == 0 else 'error'}: {told}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
