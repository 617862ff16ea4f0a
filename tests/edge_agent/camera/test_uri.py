import pytest

from edge_agent.camera.source import check_camera_uri
from edge_agent.camera.uri import describe_uri, parse_uri
from engines.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("frames/good", "folder:///"),
        ("line.mp4", "file:///"),
        ("/dev/video0", "v4l2:///dev/video0"),
        ("plate", "synthetic://plate"),
        ("fodler://x", "Did you mean 'folder'"),
        ("http://camera/stream", "file, folder, gst, rtsp, synthetic, v4l2"),
        ("folder://x?recursiv=1", "Did you mean 'recursive'"),
        ("folder://x?recursive=maybe", "true or false"),
        ("folder://x?loop=1&loop=0", "Keep one of them"),
        ("folder://", "folder:///DIR"),
        ("file://", "file://PATH"),
        ("file://a.mp4?loop=1", "unknown option 'loop'"),
        ("v4l2://video0", "v4l2:///dev/video0"),
        ("v4l2:///dev/video0?width=wide", "whole number from 16"),
        ("v4l2:///dev/video0?fourcc=MJPEG", "four letters"),
        ("v4l2:///dev/video0?hight=480", "Did you mean 'height'"),
        ("gst://videotestsrc", "appsink"),
        ("gst://videotestsrc ! appsink ! fakesink", "appsink"),
        ("gst://videotestsrc ! appsink", "drop=1 max-buffers=1"),
        ("gst://videotestsrc ! appsink drop=1 max-buffers=12", "drop=1 max-buffers=1"),
        ("synthetic://bottle", "synthetic://plate"),
        ("synthetic://plate?size=10x10", "WIDTHxHEIGHT"),
        ("synthetic://plate?size=big", "WIDTHxHEIGHT"),
        ("synthetic://plate?defects=1.5", "from 0 to 1"),
        ("synthetic://plate?defects=nan", "from 0 to 1"),
        ("synthetic://plate?kinds=scratch,dent", "scratch,stain,missing,displaced"),
        ("synthetic://plate?channels=2", "1 \\(grey\\)"),
        ("synthetic://plate?seed=-1", "from 0"),
        ("synthetic://plate?fps=25", "live=true"),
        ("synthetic://plate?fault=smoke", "hang"),
    ],
)
def test_a_wrong_uri_says_what_to_write(text, fix):
    with pytest.raises(ConfigError, match=fix):
        check_camera_uri(text)


@pytest.mark.parametrize(
    "text",
    [
        "folder://relative/dir?pace=recorded&recursive=true",
        "file:///a/line%201.mp4",
        "v4l2:///dev/video0?width=1280&height=720&fps=30&fourcc=MJPG",
        "gst://videotestsrc ! videoconvert ! appsink drop=1 max-buffers=1 sync=false",
        "gst://videotestsrc%20!%20appsink%20drop%3Dtrue%20max-buffers%3D1",
        "rtsp://user:secret@camera/stream?channel=1",
        "synthetic://plate?seed=7&defects=0.3&size=320x240&channels=1&kinds=scratch,stain&live=yes&fps=12.5",
    ],
)
def test_a_right_uri_is_accepted_without_touching_a_camera(text):
    check_camera_uri(text)


def test_the_parts_are_decoded():
    assert parse_uri("file:///a/line%201.mp4").target == "/a/line 1.mp4"
    assert parse_uri("gst://a%20!%20appsink").target == "a ! appsink"
    assert parse_uri("rtsp://h/s?channel=1").target == "h/s?channel=1"


def test_passwords_are_left_out_of_descriptions():
    secret = "rtsp://anna:se@cret@10.0.0.9/s"
    assert describe_uri(secret) == "rtsp://***@10.0.0.9/s"
    assert "cret" not in str(parse_uri(secret))
    pipeline = "gst://rtspsrc location=rtsp://anna:secret@10.0.0.9/s ! appsink"
    assert "secret" not in str(parse_uri(pipeline))
