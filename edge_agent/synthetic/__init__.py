"""A part that does not exist, drawn for demos and tests; training never uses it."""

from edge_agent.synthetic.defects import DEFECT_KINDS
from edge_agent.synthetic.part import Scene, SyntheticPart, Truth

__all__ = ["DEFECT_KINDS", "Scene", "SyntheticPart", "Truth"]
