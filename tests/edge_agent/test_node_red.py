"""The Node-RED flow that is shipped decides as the reference consumer does: its own code, run by Node.js."""

import json
import shutil
import subprocess

import pytest
from message_schemas import CONFIGS, mistakes

from edge_agent.consumer import Consumer
from edge_agent.topics import Topics

FLOW = {node["id"]: node for node in json.loads((CONFIGS / "plc" / "node-red.json").read_text())}
TOPICS = Topics("edge/v1", "plant1", "press4")
MS = 1_000_000
# Runs the function node with a clock of its own: every step is [at_ms, topic, payload]; prints [at_ms, output, payload].
HARNESS = """
const { code, steps, settings } = JSON.parse(require("fs").readFileSync(0));
let now = 0, timers = [], store = {};
const context = { get: (key) => store[key], set: (key, value) => { store[key] = value; } };
const setTimeout = (call, ms) => { const t = { at: now + ms, call }; timers.push(t); return t; };
const clearTimeout = (t) => { timers = timers.filter((other) => other !== t); };
const sent = [];
const node = { send: (outputs) => outputs.forEach((m, i) => m && sent.push([now, i, m.payload])) };
const changed = Object.entries(settings).reduce(
    (text, [name, value]) => text.replace(new RegExp(`const ${name} = [^;]*;`), `const ${name} = ${value};`), code);
const run = new Function("msg", "context", "node", "setTimeout", "clearTimeout", "Date", changed);
const until = (ms) => {
    for (;;) {
        const due = timers.filter((t) => t.at <= ms).sort((a, b) => a.at - b.at)[0];
        if (!due) break;
        now = due.at;
        clearTimeout(due);
        due.call();
    }
    now = ms;
};
for (const [at, topic, payload] of steps) {
    until(at);
    run({ topic, payload }, context, node, setTimeout, clearTimeout, { now: () => 7 });
}
until(1e6);
console.log(JSON.stringify(sent));
"""


def run_flow(steps, **settings):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js: apt-get install nodejs")
    task = {"code": FLOW["consumer"]["func"], "steps": steps, "settings": settings}
    done = subprocess.run([node, "-e", HARNESS], input=json.dumps(task), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def run_reference(steps, *, recipe, accepts_simulated):
    """The same steps through the consumer of `edge-agent watch`; returns [at_ms, action]."""
    consumer = Consumer(first_meas_id=7, recipe=recipe, timeout_ms=1000, accepts_simulated=accepts_simulated)
    decided = []

    def note(at_ms, result):
        if result is not None:
            decided.append([at_ms, result.action])

    for at_ms, topic, payload in [*steps, [10**6, "end", None]]:
        deadline_ns = consumer.deadline_ns
        if deadline_ns is not None and deadline_ns <= at_ms * MS:
            note(deadline_ns / MS, consumer.check_timer(deadline_ns))
        if topic == "part":
            consumer.ask(payload, at_ms * MS)
            note(at_ms, consumer.check_timer(at_ms * MS))
        elif topic == TOPICS.health:
            consumer.take_health(json.dumps(payload).encode(), at_ms * MS)
        elif topic == TOPICS.verdict:
            note(at_ms, consumer.take_verdict(json.dumps(payload).encode(), at_ms * MS).result)
    return decided


def health(at_ms, life, boot_id="boot"):
    return [at_ms, TOPICS.health, {"boot_id": boot_id, "life": life}]


def part(at_ms, part_id="p1"):
    return [at_ms, "part", part_id]


def verdict(at_ms, **changes):
    content = {
        "result_id": f"r{at_ms}",
        "meas_id": 7,
        "part_id": "p1",
        "recipe": "bottle",
        "verdict": "PASS",
        "reasons": [],
        "is_simulated": False,
        "is_historical": False,
        **changes,
    }
    return [at_ms, TOPICS.verdict, {key: value for key, value in content.items() if value != "missing"}]


CASES = {
    "a pass": ([health(0, 1), part(10), verdict(50)], [50, "accept"]),
    "a fail": ([health(0, 1), part(10), verdict(50, verdict="FAIL")], [50, "reject"]),
    "an invalid": ([health(0, 1), part(10), verdict(50, verdict="INVALID", reasons=["no_frame"])], [50, "reject"]),
    "a word that nobody knows": ([health(0, 1), part(10), verdict(50, verdict="pass")], [50, "reject"]),
    "silence": ([health(0, 1), part(10)], [1010, "reject"]),
    "one that is late": ([health(0, 1), part(10), verdict(1011)], [1010, "reject"]),
    "one of another part": ([health(0, 1), part(10), verdict(50, meas_id=6)], [1010, "reject"]),
    "an id of another type": ([health(0, 1), part(10), verdict(50, meas_id="7")], [1010, "reject"]),
    "another part id": ([health(0, 1), part(10), verdict(50, part_id="p0")], [50, "reject"]),
    "another recipe": ([health(0, 1), part(10), verdict(50, recipe="nut")], [50, "reject"]),
    "a simulated one": ([health(0, 1), part(10), verdict(50, is_simulated=True)], [50, "reject"]),
    "no word on simulation": ([health(0, 1), part(10), verdict(50, is_simulated="missing")], [50, "reject"]),
    "a historical one": ([health(0, 1), part(10), verdict(50, is_historical=True)], [50, "reject"]),
    "no word on history": ([health(0, 1), part(10), verdict(50, is_historical="missing")], [50, "reject"]),
    "a station that was never heard": ([part(10), verdict(50)], [10, "reject"]),
    "a station that fell silent": ([health(0, 1), part(3010), verdict(3050)], [3010, "reject"]),
    "a station that falls silent": ([health(0, 1), part(2500), verdict(3000)], [3000, "reject"]),
    "a life counter that stands still": ([health(0, 1), health(2900, 1), part(3010), verdict(3050)], [3010, "reject"]),
    "a life counter that goes on": ([health(0, 1), health(2900, 2), part(3010), verdict(3050)], [3050, "accept"]),
    "a station that started again": (
        [health(0, 1), health(2900, 1, "boot-2"), part(3010), verdict(3050)],
        [3050, "accept"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_flow_and_the_reference_decide_alike(name):
    steps, decision = CASES[name]
    sent = run_flow(steps, RECIPE='"bottle"')
    assert [[at_ms, payload["action"]] for at_ms, output, payload in sent if output == 2] == [decision]
    assert run_reference(steps, recipe="bottle", accepts_simulated=False) == [decision]
    acknowledged = [payload["result_ids"][0] for _, output, payload in sent if output == 1]
    assert acknowledged == [payload["result_id"] for _, topic, payload in steps if topic == TOPICS.verdict]


@pytest.mark.parametrize(("simulated", "action"), [(True, "accept"), (False, "accept"), ("missing", "reject")])
def test_for_a_demo_simulated_verdicts_count(simulated, action):
    steps = [health(0, 1), part(10), verdict(50, is_simulated=simulated)]
    sent = run_flow(steps, ACCEPT_SIMULATED="true")
    assert [payload["action"] for _, output, payload in sent if output == 2] == [action]
    assert run_reference(steps, recipe=None, accepts_simulated=True) == [[50, action]]


def test_what_the_flow_sends_is_as_the_schemas_say():
    sent = run_flow(
        [health(0, 1), part(10), verdict(50), part(100, "p2"), part(200, "p3"), verdict(250, meas_id=9, part_id="p3")]
    )
    triggers = [payload for _, output, payload in sent if output == 0]
    assert [trigger["meas_id"] for trigger in triggers] == [7, 8, 9]
    assert not any(mistakes("trigger", trigger) for trigger in triggers)
    assert not any(mistakes("ack", payload) for _, output, payload in sent if output == 1)
    decisions = [(payload["part_id"], payload["action"]) for _, output, payload in sent if output == 2]
    assert decisions == [("p1", "accept"), ("p2", "reject"), ("p3", "accept")]


@pytest.mark.parametrize("payload", [None, "text", 5, [], {}, {"result_id": 5}])
def test_what_is_no_message_changes_nothing(payload):
    steps = [health(0, 1), part(10), [20, TOPICS.verdict, payload], [30, TOPICS.health, payload], verdict(50)]
    assert [payload["action"] for _, output, payload in run_flow(steps) if output == 2] == ["accept"]


def test_the_flow_is_wired_to_the_topics():
    assert {FLOW[name]["topic"] for name in ("health", "verdict")} == {TOPICS.health, TOPICS.verdict}
    outputs = [FLOW[wires[0]] for wires in FLOW["consumer"]["wires"]]
    assert [node.get("topic") for node in outputs[:2]] == [TOPICS.trigger, TOPICS.ack]
    assert all((node["qos"], node["retain"]) == ("1", "false") for node in outputs[:2])
    wired = {name for name, node in FLOW.items() if ["consumer"] in node.get("wires", [])}
    assert wired == {"part", "health", "verdict"}
    # Node-RED takes a word that is the id of a configuration node for a reference to it.
    assert [name for name, node in FLOW.items() if "line-broker" in node.values()] == [
        "line-broker",
        "health",
        "verdict",
        "trigger",
        "ack",
    ]
    assert [value for value in FLOW["line-broker"].values() if value in FLOW] == ["line-broker"]
