"""`edge-agent outbox`: what the PLC has not acknowledged, and what to do about it."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from edge_agent.audit_log import AuditLog
from edge_agent.outbox_file import translate_errors
from edge_agent.outbox_rescue import give_up, rescue
from edge_agent.state_dir import check_state_dir_user, lock_state_dir
from edge_agent.station import load_station
from engines.command_line import write_json
from engines.errors import NoInputError

HELP = "show verdicts that wait for the PLC; rescue those of a damaged file, or give them up"

_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="station file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--rescue", type=Path, metavar="DAMAGED", help="take over what can be read of a file that was set aside"
    )
    what.add_argument(
        "--give-up",
        action="store_true",
        help="send none of the waiting verdicts any more; the audit log keeps their ids",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write there what waits")


def run(arguments: argparse.Namespace) -> int:
    station = load_station(arguments.config)
    path = station.state_dir / "outbox.db"
    if arguments.rescue is None and not path.exists():
        raise NoInputError(f"{station.state_dir} holds no outbox.", fix="The agent makes it at its first start.")
    if arguments.rescue or arguments.give_up:
        check_state_dir_user(station.state_dir)
        with ExitStack() as resources:
            lock_state_dir(station.state_dir, resources)
            audit = AuditLog(station.state_dir)
            if arguments.rescue:
                rescued = rescue(arguments.rescue, path)
                audit.note("outbox_rescued", file=str(arguments.rescue), result_ids=rescued)
                print(f"{len(rescued)} verdicts rescued; the agent sends them after its start, marked as historical.")
            else:
                given_up = give_up(path)
                audit.note("outbox_given_up", result_ids=given_up)
                print(f"{len(given_up)} verdicts given up; their ids are in {station.state_dir}/audit.jsonl.")
    with translate_errors(path), closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        content = _content(database)
    for line in _lines(content):
        print(line)
    write_json(arguments.json, content)
    return 0


def _content(database: sqlite3.Connection) -> dict[str, Any]:
    waiting = database.execute(
        "SELECT payload, result_id, sends FROM verdicts WHERE acknowledged = 0 ORDER BY seq"
    ).fetchall()
    (open_parts,) = database.execute("SELECT count(*) FROM triggers WHERE result_id IS NULL").fetchone()
    (health,) = database.execute("PRAGMA quick_check(1)").fetchone()
    verdicts = [{**_shown(payload, result_id), "sends": sends} for payload, result_id, sends in waiting]
    return {"waiting": len(waiting), "open_parts": open_parts, "file": health, "verdicts": verdicts}


def _shown(payload: bytes, result_id: str) -> dict[str, Any]:
    try:
        content = json.loads(payload)
    except ValueError:
        content = {"verdict": "damaged"}
    names = ("seq", "meas_id", "part_id", "verdict", "reasons", "decided_at")
    return {**{name: content.get(name) for name in names}, "result_id": result_id}


def _lines(content: dict[str, Any]) -> Iterator[str]:
    yield f"{content['waiting']} verdicts wait to be acknowledged, {content['open_parts']} parts have none yet."
    yield "The file is whole." if content["file"] == "ok" else f"The file is damaged: {content['file']}"
    for verdict in content["verdicts"][:_SHOWN]:
        yield (
            f"{verdict['decided_at']}  {verdict['verdict']:7}  meas_id {verdict['meas_id']}  part_id {verdict['part_id']}  "
            f"sent {verdict['sends']} times  {verdict['result_id']}"
        )
    if content["waiting"] > _SHOWN:
        yield f"... and {content['waiting'] - _SHOWN} more"
