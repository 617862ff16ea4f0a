"""What docs/health.md asks of a program that reads the log."""

import json
import re

_PART = re.compile(r'(?P<key>[^\s="]+)(=(?P<value>"(\\.|[^"\\])*"|[^\s"]+))?(\s+|$)')


def parse(line):
    """Return the values of a line by their keys: words stand alone, a value is one plain word or a JSON string."""
    found, end = {}, 0
    while end < len(line):
        part = _PART.match(line, end)
        assert part, f"not understood from column {end}: {line}"
        value, end = part["value"], part.end()
        found[part["key"]] = json.loads(value) if value and value.startswith('"') else value
    return found
