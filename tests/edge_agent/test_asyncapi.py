"""The AsyncAPI document names every topic, every message and how it is sent."""

import json

from message_schemas import ASYNCAPI, CONFIGS, MESSAGES, SCHEMAS

from edge_agent.topics import Topics


def references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolved(reference, home):
    """What a reference in a document points to; raises where it points nowhere."""
    file, _, pointer = reference.partition("#")
    target = json.loads((CONFIGS / file).read_text()) if file else home
    for step in pointer.split("/")[1:]:
        target = target[step.replace("~1", "/").replace("~0", "~")]
    return target


def test_every_reference_points_somewhere():
    found = list(references(ASYNCAPI))
    assert len(found) > 25
    assert all(resolved(reference, ASYNCAPI) for reference in found)
    for name, schema in SCHEMAS.items():
        for reference in references(schema):
            assert resolved(reference if reference[0] == "#" else f"schemas/{reference}", schema), (name, reference)


def test_the_channels_are_the_topics():
    topics = Topics("edge/v1", "{site}", "{station}")
    names = {name for name in vars(Topics) if not name.startswith("_")} - {"prefix", "site", "station", "base"}
    addresses = {}
    for name in names:
        topic = getattr(topics, name)
        addresses[name] = topic("{result_id}") if callable(topic) else topic
    assert {name: channel["address"] for name, channel in ASYNCAPI["channels"].items()} == addresses
    for name, channel in ASYNCAPI["channels"].items():
        parameters = {part.strip("{}") for part in channel["address"].split("/") if part.startswith("{")}
        assert set(channel["parameters"]) == parameters
        assert channel["messages"] == {name: {"$ref": f"#/components/messages/{name}"}}


def test_every_message_has_its_schema_and_every_channel_one_operation():
    messages = ASYNCAPI["components"]["messages"]
    payloads = {name: message["payload"].get("$ref") for name, message in messages.items() if name != "mask"}
    assert payloads == {name: f"schemas/{name}.json" for name in MESSAGES}
    operations = list(ASYNCAPI["operations"].values())
    used = sorted(operation["channel"]["$ref"].removeprefix("#/channels/") for operation in operations)
    assert used == sorted(ASYNCAPI["channels"]) == sorted(messages)
    incoming = {"trigger", "ack", "command"}
    for operation in operations:
        name = operation["channel"]["$ref"].rpartition("/")[2]
        assert operation["action"] == ("receive" if name in incoming else "send")
        mqtt = operation["bindings"]["mqtt"]
        assert mqtt == {"qos": 0 if name in {"health", "late"} else 1, "retain": name == "state"}
