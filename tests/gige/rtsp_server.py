"""A network camera: RTSP, MJPEG, and each picture shows when it was taken, in ms. For the system's Python.

python3 rtsp_server.py PORT
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402
from timed_picture import HEIGHT_PX, WIDTH_PX, picture  # noqa: E402 - beside this program

FPS = 20
CAPS = f"video/x-raw,format=GRAY8,width={WIDTH_PX},height={HEIGHT_PX},framerate={FPS}/1"
PIPELINE = (
    f"( appsrc name=source is-live=true do-timestamp=true format=time caps={CAPS} ! videoconvert ! "
    "video/x-raw,format=I420 ! jpegenc quality=95 ! rtpjpegpay name=pay0 )"
)


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
