"""A part that does not exist, drawn for demos and tests; training never uses it."""

from edge_agent.synthetic.part import DEFECT_KINDS, Scene, SyntheticPart, Truth

__all__ = ["DEFECT_KINDS", "Scene", "SyntheticPart", "Truth"]
