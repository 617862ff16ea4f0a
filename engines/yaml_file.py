"""A YAML file checked against a pydantic model: every mistake at once, each with its line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from engines.errors import ConfigError

KeyPath = tuple["str | int", ...]
Model = TypeVar("Model", bound=BaseModel)
_CORRECT = "Correct every line named above and try again."


class StrictModel(BaseModel):
    """A part of a file in which an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Mistake:
    """One thing to correct: `line` counts from 1."""

    line: int
    text: str


def load_yaml(path: Path, model: type[Model], *, error: type[ConfigError], fix: str = _CORRECT) -> Model:
    """Read and check a YAML file.

    Args:
        path: The file.
        model: What it must be.
        error: What is raised.
        fix: What to do about mistakes; nobody may correct a file that a manifest seals.

    Raises:
        ConfigError: Of the class `error`; its message lists every mistake with file, line, key, value and rule.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(
            f"{path} cannot be read: {problem.strerror}.", fix="Check the path and its permissions."
        ) from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8 text: {problem.reason}.", fix="Save it as UTF-8, or restore it.") from problem
    return parse_yaml(text, model, name=str(path), error=error, fix=fix)


def parse_yaml(text: str, model: type[Model], *, name: str, error: type[ConfigError], fix: str = _CORRECT) -> Model:
    """Check YAML text; see `load_yaml`."""
    lines: dict[KeyPath, int] = {}
    mistakes: list[Mistake] = []
    try:
        aliases = [event for event in yaml.parse(text, Loader=yaml.SafeLoader) if isinstance(event, yaml.AliasEvent)]
        if aliases:
            # An alias can contain itself, or grow a file of a line to gigabytes.
            raise error(
                f"{name}:{_line(aliases[0])}: aliases such as *{aliases[0].anchor} are not used here.",
                fix="Write it out.",
            )
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except RecursionError as problem:
        raise error(f"{name} is nested too deeply.", fix="Restore the file.") from problem
    except (yaml.YAMLError, ValueError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(problem, "problem", None) or str(problem)
        raise error(
            f"{name}:{line}: not valid YAML: {what}.",
            fix="Correct that line (indent with spaces, one `key: value` a line).",
        ) from problem
    if root is not None:
        _note_lines(root, (), lines, mistakes)
    if not isinstance(content, dict):
        raise error(f"{name}:1: expected `key: value` lines, found {type(content).__name__}.", fix="Restore the file.")
    try:
        checked = model.model_validate(content)
    except ValidationError as problem:
        mistakes += [_mistake(item, model, lines) for item in problem.errors(include_url=False)]
    if mistakes:
        mistakes.sort(key=lambda mistake: mistake.line)
        listed = "\n".join(f"  {name}:{mistake.line}: {mistake.text}" for mistake in mistakes)
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise error(f"{name} has {count}:\n{listed}\n", fix=fix)
    return checked


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _note_lines(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], mistakes: list[Mistake]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                mistakes.append(Mistake(line, f"{_dotted((*path, name))}: given twice; keep one of them"))
            seen.add(name)
            lines[(*path, name)] = line
            _note_lines(value, (*path, name), lines, mistakes)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*path, index), lines, mistakes)


def _mistake(item: Any, model: type[BaseModel], lines: dict[KeyPath, int]) -> Mistake:
    path: KeyPath = tuple(item["loc"])
    known = path
    while known and known not in lines:
        known = known[:-1]
    line = lines.get(known, 1)
    key = _dotted(path)
    if item["type"] == "extra_forbidden":
        names = _known_keys(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys here: {', '.join(names)}"
        return Mistake(line, f"{key}: unknown key; {hint}")
    if item["type"] == "missing":
        return Mistake(line, f"{key}: missing; it has no default and must be given")
    rule = item["msg"].removeprefix("Value error, ")
    value = "the value" if "password" in key else repr(item["input"])
    return Mistake(line, f"{key}: {value} is not allowed: {rule[0].lower()}{rule[1:]}")


def _known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    for key in path:
        field = model.model_fields.get(str(key))
        if field is None:
            return []
        candidates = [field.annotation, *get_args(field.annotation)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models:
            return []
        model = models[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _dotted(path: KeyPath) -> str:
    return ".".join(str(key) for key in path) or "(top level)"
