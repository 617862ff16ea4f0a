"""A network camera in Python: RTSP and RTP over TCP, MPEG-4, whose frames need each other as those of H.264 do."""

from __future__ import annotations

import socketserver
import struct
import threading
import time

import cv2
import numpy as np

FPS, FRAMES, SEED = 50, 600, 11
BITS, BAR_PX, HEIGHT_PX = 12, 8, 80
SHAPE = (HEIGHT_PX, BITS * BAR_PX, 3)
_CLOCK_HZ = 90_000
_SDP = (
    f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=line\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/{_CLOCK_HZ}\r\n"
)


def numbered_frames(path):
    """Encode frames that show their number as bars, the highest bit on the left; returns each one's bytes."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), FPS, SHAPE[1::-1])
    for number in range(FRAMES):
        bars = [255 * (number >> bit & 1) for bit in reversed(range(BITS))]
        row = np.repeat(np.array(bars, np.uint8), BAR_PX)
        writer.write(np.ascontiguousarray(np.broadcast_to(row[None, :, None], SHAPE)))
    writer.release()
    video = path.read_bytes()
    at, chunks = video.index(b"movi") + 4, []
    while video[at : at + 4] == b"00dc":
        size = int.from_bytes(video[at + 4 : at + 8], "little")
        chunks.append(video[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    assert len(chunks) == FRAMES
    return chunks


def number_of(frame):
    """Return the number that a decoded frame shows."""
    bars = frame[:, :, 0].reshape(HEIGHT_PX, BITS, BAR_PX).mean(axis=(0, 2)) > 127
    return int("".join("1" if bar else "0" for bar in bars), 2)


class RtspStream:
    """Serves one client on 127.0.0.1; `sent_ns` says when each frame began to leave, CLOCK_MONOTONIC."""

    def __init__(self, frames):
        self.frames, self.sent_ns = frames, []
        stream = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                _serve(self, stream)

        self._server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        self.uri = f"rtsp://127.0.0.1:{self._server.server_address[1]}/line"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self):
        """To be called when the client has gone."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _serve(handler, stream):
    answers = {
        "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n\r\n{_SDP}",
        "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n",
        "OPTIONS": "Public: DESCRIBE, SETUP, PLAY\r\n\r\n",
        "PLAY": "Session: 1\r\n\r\n",
    }
    method = ""
    while method != "PLAY":
        method = handler.rfile.readline().decode().split(" ")[0]
        headers = dict(line.split(": ", 1) for line in iter(lambda: handler.rfile.readline().decode().strip(), ""))
        handler.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {headers['CSeq']}\r\n{answers[method]}".encode())
    start_s = time.monotonic()
    try:
        for number, frame in enumerate(stream.frames):
            time.sleep(max(0, start_s + number / FPS - time.monotonic()))
            stream.sent_ns.append(time.monotonic_ns())
            packet = struct.pack(">BBHII", 0x80, 0x80 | 96, number, number * _CLOCK_HZ // FPS, SEED) + frame
            handler.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
    except ConnectionError:
        return
