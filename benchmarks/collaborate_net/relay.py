"""Carry one TCP port to another address, each byte later than it came: delay where the kernel has no netem.

python -m benchmarks.collaborate_net.relay PORT HOST PORT DELAY_MS
"""

import asyncio
import sys


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delay_s: float) -> None:
    """Write what is read, ``delay_s`` after it was read."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def write() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data or writer.is_closing():
                writer.close()
                return
            writer.write(data)

    task = asyncio.create_task(write())
    try:
        while data := await reader.read(65536):
            waiting.put_nowait((loop.time() + delay_s, data))
    except ConnectionError:
        pass
    waiting.put_nowait((loop.time() + delay_s, b""))
    await task


async def serve(port: int, host: str, far_port: int, *, delay_s: float) -> None:
    """Relay every connection to ``port`` of this namespace's loopback, both ways."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, far_port)
        except OSError:  # nobody listens yet: the board tries again
            writer.close()
            return
        both = (carry(reader, far_writer, delay_s=delay_s), carry(far_reader, writer, delay_s=delay_s))
        await asyncio.gather(*both, return_exceptions=True)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), delay_s=float(sys.argv[4]) / 1000))
