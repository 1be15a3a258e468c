# Receives a name, answers "ok", then the contents; an empty datagram is the end.
import os
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
folder = sys.argv[3]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
sock.bind((host, port))
print(sock.getsockname()[1])

data, sender = sock.recvfrom(65535)
filename = os.path.basename(data.decode())
sock.sendto("ok".encode(), sender)
size = 0
with open(os.path.join(folder, filename), "wb") as f:
    data, sender = sock.recvfrom(65535)
    while data:
        f.write(data)
        size += len(data)
        data, sender = sock.recvfrom(65535)
sock.close()
print("받음:", filename, size)
