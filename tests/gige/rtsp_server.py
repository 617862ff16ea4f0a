"""A network camera: RTSP, MJPEG, and each picture shows when it was taken, in ms. For the system's Python.

python3 rtsp_server.py PORT
"""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

BITS, BAR_PX, HEIGHT_PX, FPS = 12, 8, 80, 20
CAPS = f"video/x-raw,format=GRAY8,width={BITS * BAR_PX},height={HEIGHT_PX},framerate={FPS}/1"
PIPELINE = (
    f"( appsrc name=source is-live=true do-timestamp=true format=time caps={CAPS} ! videoconvert ! "
    "video/x-raw,format=I420 ! jpegenc quality=95 ! rtpjpegpay name=pay0 )"
)


def picture():
    """Draw the time, CLOCK_MONOTONIC in ms, as bars: the highest bit on the left."""
    now_ms = time.monotonic_ns() // 1_000_000
    bars = (b"\xff" if now_ms >> bit & 1 else b"\0" for bit in reversed(range(BITS)))
    return b"".join(bar * BAR_PX for bar in bars) * HEIGHT_PX


def configure(_factory, media):
    source = media.get_element().get_child_by_name("source")

    def push():
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(picture())) == Gst.FlowReturn.OK

    GLib.timeout_add(1000 // FPS, push)


def main():
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory(launch=PIPELINE, shared=True)
    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/line", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
