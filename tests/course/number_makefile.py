# The socket as a text file: a line out, a line in.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
with client, client.makefile("rw", encoding="utf-8", newline="\n") as lines:
    for question in ["3", "7", "백"]:
        lines.write(question + "\n")
        lines.flush()
        print(repr(lines.readline()))
