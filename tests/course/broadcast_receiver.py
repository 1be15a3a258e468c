# Hears what is broadcast to a port; any number of these share it.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
receiver.bind((host, port))
for _ in range(3):
    data, _ = receiver.recvfrom(1024)
    print("방송:", data.decode())
receiver.close()
