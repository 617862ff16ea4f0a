"""A network camera: RTSP, and each picture shows when it was taken, in ms. For the system's Python.

python3 rtsp_server.py PORT CODEC
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402
from timed_picture import FPS, HEIGHT_PX, WIDTH_PX, picture  # noqa: E402 - beside this program

CAPS = f"video/x-raw,format=GRAY8,width={WIDTH_PX},height={HEIGHT_PX},framerate={FPS}/1"
SOURCE = f"appsrc name=source is-live=true do-timestamp=true format=time caps={CAPS} ! videoconvert ! video/x-raw,format=I420"
# It sends a picture when it has the next one.
X264 = "x264enc key-int-max=20 bitrate=2000"
PAY_H264 = "video/x-h264,profile=high ! rtph264pay config-interval=1 name=pay0"
CODECS = {
    "jpeg": "jpegenc quality=95 ! rtpjpegpay name=pay0",
    "h264": f"{X264} tune=zerolatency ! {PAY_H264}",
    "h264_b_frames": f"{X264} bframes=3 b-adapt=false rc-lookahead=0 sync-lookahead=0 sliced-threads=true ! {PAY_H264}",
}


def configure(_factory, media):
    source = media.get_element().get_child_by_name("source")

    def push():
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(picture())) == Gst.FlowReturn.OK

    GLib.timeout_add(1000 // FPS, push)


def main():
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory(launch=f"( {SOURCE} ! {CODECS[sys.argv[2]]} )", shared=True)
    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/line", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
