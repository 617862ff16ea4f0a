"""`edge-agent doctor`: what this machine has, and what to do where it lacks something."""

from __future__ import annotations

import argparse
import grp
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from edge_agent.broker_address import resolve_broker
from edge_agent.clock import clock_is_synced
from edge_agent.ids import uuid7
from edge_agent.mqtt import MqttClient
from edge_agent.station import MqttPart, load_station
from engines.command_line import write_json
from engines.errors import ConfigError, EngineError
from engines.plans.library import load_library
from engines.runtime.cuda_memory import open_cuda

HELP = "say what this machine has: JetPack, TensorRT, GStreamer, groups, clock, broker"

_BROKER_TIMEOUT_S = 5.0
_POLL_S = 0.05
_REQUIRED = ("numpy", "onnxruntime", "paho-mqtt", "prometheus-client", "pydantic", "PyYAML", "simplejpeg")
_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}


@dataclass(frozen=True)
class Finding:
    """One line: `missing` stops the agent, `note` only limits it."""

    topic: str
    level: Literal["ok", "note", "missing"]
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="station file, to look for its broker and folders")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings there")


def run(arguments: argparse.Namespace) -> int:
    findings = [*_machine(), *_libraries(), *_permissions()]
    if arguments.config:
        findings += _station(arguments.config)
    table = Table("", "what", "found")
    for finding in findings:
        table.add_row(_MARKS[finding.level], finding.topic, finding.text)
    Console().print(table)
    write_json(arguments.json, {"findings": [vars(finding) for finding in findings]})
    return 69 if any(finding.level == "missing" for finding in findings) else 0


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "ok", f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    release = Path("/etc/nv_tegra_release")
    if release.is_file():
        yield Finding("JetPack", "ok", release.read_text(encoding="utf-8").splitlines()[0].lstrip("# "))
    else:
        yield Finding("JetPack", "note", "this is no Jetson; the cpu runtime is used")
    yield from _gpu()
    synced = clock_is_synced()
    text = "follows a time server" if synced else "not synchronised: verdicts will say so; install chrony or timesyncd"
    yield Finding("clock", "ok" if synced else "note", text)


def _gpu() -> Iterator[Finding]:
    try:
        yield Finding("TensorRT", "ok", load_library().version)
    except EngineError as problem:
        yield Finding("TensorRT", "note", str(problem))
    try:
        memory = open_cuda()
    except EngineError as problem:
        yield Finding("CUDA", "note", str(problem))
        return
    facts = memory.facts
    memory.close()
    way = "reads the frame ring in place" if facts.integrated and facts.can_register else "gets a copy of each frame"
    yield Finding(
        "CUDA", "ok", f"{facts}, CUDA {facts.driver // 1000}.{facts.driver % 1000 // 10}, {memory.binding}; {way}"
    )


def _libraries() -> Iterator[Finding]:
    yield from map(_package, _REQUIRED)
    try:
        import cv2
    except ImportError as problem:
        yield Finding("OpenCV", "missing", f"{problem}; use JetPack's, or pip install 'edge-agent[cv]'")
        return
    yield Finding("OpenCV", "ok", cv2.__version__)
    built = any("GStreamer" in line and "YES" in line for line in cv2.getBuildInformation().splitlines())
    text = "in OpenCV" if built else "not in this OpenCV: gst:// needs JetPack's or Debian's python3-opencv"
    yield Finding("GStreamer", "ok" if built else "note", text)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", f"pip install {name}")


def _permissions() -> Iterator[Finding]:
    mine = {grp.getgrgid(number).gr_name for number in os.getgroups() if _has_name(number)}
    for name, purpose in (("video", "cameras"), ("render", "the GPU")):
        inside = name in mine or os.geteuid() == 0
        text = "member" if inside else f"not a member, needed for {purpose}: sudo usermod -aG {name} $USER"
        yield Finding(f"group {name}", "ok" if inside else "note", text)


def _has_name(number: int) -> bool:
    try:
        grp.getgrgid(number)
    except KeyError:
        return False
    return True


def _station(path: Path) -> Iterator[Finding]:
    station = load_station(path)
    yield Finding("station file", "ok", str(path))
    for topic, folder in (("recipe", station.recipe), ("state_dir", station.state_dir)):
        there = folder.is_dir()
        yield Finding(topic, "ok" if there else "note", str(folder) if there else f"{folder} does not exist yet")
    if station.mqtt.embedded:
        yield Finding("broker", "ok", "embedded: the agent starts it")
        return
    yield from _broker(station.mqtt)


def _broker(mqtt: MqttPart) -> Iterator[Finding]:
    """Log in as the agent does, under another client id: two equal ones throw each other out."""
    try:
        broker = resolve_broker(mqtt)
        for remark in broker.tls.check() if broker.tls else []:
            yield Finding("TLS", "note", remark)
    except ConfigError as problem:
        yield Finding("broker", "note", str(problem))
        return
    client = MqttClient(broker, f"edge-doctor-{uuid7()}", {})
    client.start()
    until = time.monotonic() + _BROKER_TIMEOUT_S
    while not client.live.wait(_POLL_S) and client.error is None and time.monotonic() < until:
        pass
    error = client.error
    client.stop()
    if error is None and not client.generation:
        yield Finding("broker", "note", f"{broker} does not answer")
    else:
        yield Finding("broker", "note" if error else "ok", str(error or f"{broker} lets us in"))
