"""Compares every due time of `keywheel schedule` with Python's own calendar, `zoneinfo`.

All zones, every day from 2025 to 2037, at times of day that gaps and repeats fall on. Usage:
due_times.py KEYWHEEL
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

FIRST, LAST = date(2025, 1, 1), date(2037, 12, 31)
DAYS = (LAST - FIRST).days

# Clocks change at midnight, at one, at two (Lord Howe by half an hour) and at three.
AROUND_CHANGES = [time(0, 30), time(1, 30), time(2, 15), time(3, 0), time(10, 0)]
QUIET = [time(10, 0)]


def changes(zone):
    """Whether the zone's offset changes at all in these years."""
    noon = [datetime(y, m, 15, 12, tzinfo=zone).utcoffset()
            for y in range(FIRST.year, LAST.year + 2) for m in range(1, 13)]
    return len(set(noon)) > 1


def expected(zone, at):
    """The instants at which it is `at` in the zone, day by day.

    A time that comes twice is the first, and one that is skipped lies at the same distance behind
    the gap: both are what `fold=0` means (PEP 495), with the offset before the change.
    """
    for n in range(1, DAYS + 1):
        local = datetime.combine(FIRST + timedelta(days=n), at, tzinfo=zone)
        yield local.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def printed(keywheel, name, at):
    """The instants that the program prints."""
    begin = datetime.combine(FIRST, at, tzinfo=ZoneInfo(name)).astimezone(timezone.utc)
    command = [keywheel, "schedule", "--interval-days", "1", "--rotate-at", at.strftime("%H:%M"),
               "--timezone", name, "--from", begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
               "--count", str(DAYS), "-o", "json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line["at"] for line in json.loads(output)]


def compare(keywheel, name):
    """How many instants were compared, and those that differ."""
    zone = ZoneInfo(name)
    compared, different = 0, []
    for at in AROUND_CHANGES if changes(zone) else QUIET:
        wanted = list(expected(zone, at))
        found = printed(keywheel, name, at)
        compared += len(wanted)
        if len(found) != len(wanted):
            different.append((name, at, f"{len(wanted)} instants", f"{len(found)} instants"))
        different += [(name, at, *pair) for pair in zip(wanted, found) if pair[0] != pair[1]]
    return compared, different


def main():
    keywheel = sys.argv[1]
    # `Factory` is no zone, and `posixrules` and the like are no names that anybody writes.
    names = sorted(name for name in available_timezones()
                   if name not in ("Factory", "localtime") and not name.startswith(("posix", "right")))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda name: compare(keywheel, name), names))
    compared = sum(count for count, _ in results)
    different = [line for _, lines in results for line in lines]
    for line in different[:20]:
        print(*line, file=sys.stderr)
    print(f"due times: {len(names)} zones, {compared} due times, {len(different)} differences")
    return 1 if different or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
