"""What is told of packets: pictures that are left out change no frame; holes full of zeros are seen."""

import av
import pytest
import torch

from tests.data.made_clips import make_video, numbers
from tests.data.video.test_reader import slow_decode
from worldjepa.data import BadVideoError, read_clip
from worldjepa.data.video.decoding import CheckedDecoder
from worldjepa.data.video.packets import PacketTests

KINDS = ["h264.mp4", "h264.mkv", "transport.ts", "fragmented.mp4", "ten_bit.mp4", "hevc.mp4", "layers.mkv"]


def packets_fed(path, indices, monkeypatch) -> int:
    """Return how many packets the decoder got to read these frames."""
    fed = []
    inner = CheckedDecoder.__call__

    def counting(self, packet):
        fed.extend([packet] if packet is not None else [])
        return inner(self, packet)

    monkeypatch.setattr(CheckedDecoder, "__call__", counting)
    read_clip(path, indices)
    return len(fed)


@pytest.mark.parametrize("name", [*KINDS, "open_gop.mp4"])
def test_pictures_left_out_change_no_frame(made, name):
    path = made[name]
    slow = slow_decode(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        tests = PacketTests(stream.codec_context)
        assert sum(tests.unreferenced(packet) for packet in container.demux(stream) if packet.size) >= 6
    for indices in ([7], [22], [0, 4, 8, 12, 16, 20], [1, 9, 10, 11], [23, 2]):
        assert torch.equal(read_clip(path, indices), slow[indices]), indices


def test_no_more_is_decoded_than_needed(tmp_path, monkeypatch):
    """What comes before frame 12 and is referred to, and frame 12 itself; on top of it the first scan."""
    path = make_video(tmp_path / "a.mp4", gop=250)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        tests = PacketTests(stream.codec_context)
        packets = [packet for packet in container.demux(stream) if packet.size]
    place = [packet.pts for packet in packets].index(12 * 512)
    needed = sum(not tests.unreferenced(packet) for packet in packets[:place]) + 1
    assert needed < place
    scan = packets_fed(path, [0], monkeypatch) - 1  # the first frame needs its own packet
    monkeypatch.undo()
    assert packets_fed(path, [12], monkeypatch) - scan == needed


def test_a_hole_full_of_zeros_is_seen(made, tmp_path):
    """Also where decoders make pictures of it: those of HEVC say nothing."""
    for name in ("h264.mp4", "hevc.mp4", "av1.mkv"):
        with av.open(str(made[name])) as container:
            stream = container.streams.video[0]
            tests = PacketTests(stream.codec_context)
            packets = [packet for packet in container.demux(stream) if packet.size]
        assert not any(tests.damaged(packet) for packet in packets), name
        hole = max(packets[1:], key=lambda packet: packet.size)
        assert hole.pos is not None
        content = bytearray(made[name].read_bytes())
        content[hole.pos + hole.size // 2 : hole.pos + hole.size] = bytes(hole.size - hole.size // 2)
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BadVideoError):
            read_clip(path, range(24))
        assert numbers(read_clip(path, [0])) == [0]
