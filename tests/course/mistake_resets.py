# SO_LINGER with zero seconds "to close faster": every close is a reset.
import socket
import struct
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

for _ in range(20):
    client = socket.create_connection((host, port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.send("빨리".encode())
    client.close()
client = socket.create_connection((host, port))
client.send("천천히".encode())
print(client.recv(1024).decode())
client.close()
