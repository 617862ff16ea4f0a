"""What a camera delivers, asked before there is a ring to deliver into."""

from __future__ import annotations

import select

from edge_agent.camera.child import CameraChild
from edge_agent.camera.messages import CameraOpened, Failed, Setup, decode, encode, error_from
from edge_agent.camera.source import check_camera_uri
from edge_agent.camera.uri import describe_uri
from engines.errors import CameraError


def probe_camera(uri: str, *, timeout_s: float = 15.0) -> CameraOpened:
    """Open the camera in a process of its own, ask what it delivers, and close it again.

    Raises:
        ConfigError: The URI is wrong, or names what can never work.
        CameraError: The camera is not there, refuses, or does not answer in time.
    """
    check_camera_uri(uri)
    child = CameraChild(-1)
    grace_s = 0.0
    try:
        child.send(encode(Setup(uri, None, 0, 0)))
        if not select.select([child], [], [], timeout_s)[0]:
            raise CameraError(
                f"Camera {describe_uri(uri)} did not open for {timeout_s:g} s.", fix="Check cable, power and address."
            )
        datagram = child.receive()
        if not datagram:
            raise CameraError(f"The camera process of {describe_uri(uri)} died.", fix="Its last lines say why.")
        message = decode(datagram)
        if isinstance(message, Failed):
            raise error_from(message)
        if not isinstance(message, CameraOpened):
            raise CameraError(f"The camera process sent {message}.", fix="Install agent and camera process together.")
        grace_s = 1.0
    finally:
        child.end(grace_s)
    return message
