#!/usr/bin/env bash
# ZeroMQ's MAXMSGSIZE with CURVE: messages of the allowed size are dropped, and nobody is told.
#
# One would guess: ZMQ_MAXMSGSIZE bounds what a message holds, so a limit of 1000 bytes lets through a frame of 1000
#   bytes, encrypted or not; turning on keys changes who may speak, not how long a sentence may be.
# What happens: the limit is held against the frame on the wire. CURVE puts each frame into a MESSAGE command: 8 bytes of
#   name, 8 of nonce, 16 of authenticator and 1 of flags. So 33 bytes of the limit are gone, and of two frames sent
#   together each loses its own 33. A frame in between ends the connection: the sender gets no error, its socket joins
#   again by itself, the message is gone, and the receiver waits. A bound that was tested without keys, with images of
#   exactly that many bytes, fails on the first image once keys are on.
# Versions: pyzmq 27.1.0 with libzmq 4.3.5, CPython 3.11, Linux x86-64.
# Source: https://rfc.zeromq.org/spec/26/ (MESSAGE command); zmq_setsockopt(3), ZMQ_MAXMSGSIZE: "inbound messages".
# Output seen:
#   plain, limit 1000: one frame of 966 arrives, 967 arrives, 968 arrives, 1000 arrives, 1001 is lost
#   plain, limit 1000: three frames of 967 arrive
#   CURVE, limit 1000: one frame of 966 arrives, 967 arrives, 968 is lost, 1000 is lost, 1001 is lost
#   CURVE, limit 1000: three frames of 967 arrive
#   libzmq 4.3.5 pyzmq 27.1.0
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check pyzmq==27.1.0
cd "$dir"

cat > limit.py <<'PY'
import sys

import zmq

LIMIT = 1000
WAIT_MS = 300


def arrives(frames, keys):
    """Send one message over a fresh pair of sockets; whether the receiver gets it, and whether sending failed."""
    context = zmq.Context()
    server, client = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for socket in (server, client):
        socket.linger = 0
    server.maxmsgsize = LIMIT
    if keys is not None:
        public, secret = keys
        server.curve_server, server.curve_publickey, server.curve_secretkey = True, public, secret
        client.curve_serverkey = public
        client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client.connect(f"tcp://127.0.0.1:{port}")
    client.send_multipart([b"hello"])
    server.recv_multipart()  # connected, keys exchanged
    client.send_multipart(frames)  # raises nothing, whatever becomes of it
    found = bool(server.poll(WAIT_MS))
    context.destroy(linger=0)
    return found


seen = {}
for name, keys in (("plain", None), ("CURVE", zmq.curve_keypair())):
    sizes = [LIMIT - 34, LIMIT - 33, LIMIT - 32, LIMIT, LIMIT + 1]
    seen[name] = [arrives([bytes(size)], keys) for size in sizes]
    told = ", ".join(f"{size} {'arrives' if ok else 'is lost'}" for size, ok in zip(sizes, seen[name]))
    print(f"{name}, limit {LIMIT}: one frame of {told}")
    seen[name].append(arrives([bytes(LIMIT - 33)] * 3, keys))
    print(f"{name}, limit {LIMIT}: three frames of {LIMIT - 33} {'arrive' if seen[name][-1] else 'are lost'}")
wanted = {"plain": [True, True, True, True, False, True], "CURVE": [True, True, False, False, False, True]}
print("libzmq", zmq.zmq_version(), "pyzmq", zmq.__version__)
if seen != wanted:
    sys.exit("No longer so: the limit counts other bytes.")
PY
"$dir/venv/bin/python" limit.py
