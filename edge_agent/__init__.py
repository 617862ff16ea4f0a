"""The inspection agent: camera, pipeline, decision, outbox and MQTT. Reading starts in `agent.py`."""

__version__ = "0.1.0"
