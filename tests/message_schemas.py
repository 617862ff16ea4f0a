"""The schemas of the messages and the AsyncAPI document, as they are shipped."""

import json
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

CONFIGS = Path(__file__).parents[1] / "configs"
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in sorted((CONFIGS / "schemas").glob("*.json"))}
MESSAGES = sorted(set(SCHEMAS) - {"common"})
ASYNCAPI = yaml.safe_load((CONFIGS / "asyncapi.yaml").read_text())
_REGISTRY = Registry().with_resources(
    (f"{name}.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)


def validator(name):
    """A validator of `common.json#/$defs/id`, for example, or of a whole message."""
    file, _, pointer = name.partition("#")
    return Draft202012Validator({"$ref": f"{file.removesuffix('.json')}.json#{pointer}"}, registry=_REGISTRY)


def mistakes(name, content):
    """Every way in which a message differs from its schema, in words."""
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(content)]
