"""The bytes of a fake plan: a header that says for what it was built, then the ONNX model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

MAGIC = b"fakeplan"


class DamagedPlanError(ValueError):
    """The bytes are no plan, or were changed."""


@dataclass(frozen=True)
class Plan:
    """What an engine is made of; `scratch_bytes` is what one execution context needs."""

    version: str
    compute_capability: tuple[int, int]
    name: str
    verbosity: str
    quantises: bool
    host_code: bool
    scratch_bytes: int
    model: bytes

    def to_bytes(self) -> bytes:
        header = {key: value for key, value in asdict(self).items() if key != "model"}
        body = json.dumps(header).encode() + b"\n" + self.model
        return MAGIC + hashlib.sha256(body).digest() + body


def plan_from_bytes(content: bytes) -> Plan:
    """Read a plan.

    Raises:
        DamagedPlanError: It is none, or its hash does not match.
    """
    digest, body = content[len(MAGIC) :][:32], content[len(MAGIC) + 32 :]
    if not content.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        raise DamagedPlanError("magic tag does not match")
    header, _, model = body.partition(b"\n")
    fields = json.loads(header)
    return Plan(**(fields | {"compute_capability": tuple(fields["compute_capability"])}), model=model)
