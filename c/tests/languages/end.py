"""One end of a session whose other end may be of another language: end.py reader|writer NAME [STOP].

end.c and end.rs are the same program, and say the same. With STOP it stops once so many blocks were
sent, or drained, until it gets a line: to be killed there, or while its partner is.
"""

import sys

import brigade

SIZE, COUNT = 1000, 1000
LIMIT = 60.0
OPTIONS: brigade.OtherOptions = {"block_size": SIZE, "block_count": 8, "timeout": LIMIT}


def content(number: int, length: int) -> bytes:
    return bytes((7 * number + 3 * index) & 0xFF for index in range(length))


def label(number: int) -> tuple[int, int, bool]:
    return number * 0x9E3779B97F4A7C15 % 2**64, number * 257 % 2**16, number % 3 == 1


class Sum:
    """What has passed, as a number of things, a number of bytes, and a checksum (FNV-1a)."""

    def __init__(self) -> None:
        self.count, self.bytes, self.hash = 0, 0, 0xCBF29CE484222325

    def add(self, tag: int, kind: int, more: bool, data: bytes | memoryview) -> None:
        self.count += 1
        self.bytes += len(data)
        head = tag.to_bytes(8, "little") + kind.to_bytes(2, "little") + bytes([more])
        for part in (head, data):
            for byte in part:
                self.hash = (self.hash ^ byte) * 0x100000001B3 % 2**64

    def __str__(self) -> str:
        return f"{self.count}, {self.bytes} bytes, {self.hash:016x}"


def stop_at(number: int, stop: int) -> None:
    if number == stop:
        print("stopped", flush=True)
        sys.stdin.readline()


def post(end: brigade.Reader | brigade.Writer, number: int, posted: Sum) -> None:
    data = content(number, number % 1017)
    end.post(data, number, LIMIT)
    posted.add(0, number, False, data)


def hear(end: brigade.Reader | brigade.Writer) -> Sum:
    heard = Sum()
    while (letter := end.letter(LIMIT)) is not None:
        heard.add(0, letter.kind, False, letter.data)
    return heard


def send(reader: brigade.Reader, stop: int, blocks: Sum) -> None:
    posted = Sum()
    for number in range(COUNT):
        stop_at(number, stop)
        length = number * 379 % (SIZE + 1)
        tag, kind, more = label(number)
        block = reader.empty_block(LIMIT)
        with memoryview(block) as view:
            view[:length] = content(number, length)
            blocks.add(tag, kind, more, view[:length])
        block.send(length, tag=tag, kind=kind, more=more)
        if number % 100 == 99:
            post(reader, number, posted)
    reader.close()
    heard = hear(reader)
    delivered = reader.verdict(LIMIT)
    print(f"blocks: {blocks}\nposted: {posted}\nheard: {heard}")
    print(f"delivered: {delivered.blocks}, {delivered.bytes} bytes")


def drain(writer: brigade.Writer, stop: int, blocks: Sum) -> None:
    posted = Sum()
    while (block := writer.data_block(LIMIT)) is not None:
        with block, memoryview(block) as view:
            blocks.add(block.tag, block.kind, block.more, view)
        if blocks.count % 100 == 0:
            post(writer, blocks.count, posted)
        stop_at(blocks.count, stop)
    heard = hear(writer)
    delivered = writer.finish()
    print(f"blocks: {blocks}\nposted: {posted}\nheard: {heard}")
    print(f"delivered: {delivered.blocks}, {delivered.bytes} bytes")


def main(side: str, name: str, stop: str = "-1") -> int:
    blocks = Sum()
    try:
        if side == "reader":
            reader = brigade.join(name, side="reader", **OPTIONS)
            send(reader, int(stop), blocks)
        else:
            writer = brigade.join(name, side="writer", **OPTIONS)
            drain(writer, int(stop), blocks)
    except brigade.Error as error:
        delivered = error.delivered or brigade.Delivered(0, 0)
        print(f"blocks: {blocks}\nerror: {error.number}, delivered: {delivered.blocks}")
        return 1
    return 0


sys.exit(main(*sys.argv[1:]))
