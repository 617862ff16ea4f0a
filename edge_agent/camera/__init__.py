"""Cameras: each runs in a process of its own, and the agent asks that process for one frame at a time."""
