# Answers those who look for a server by broadcast.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
server.bind(("", port))
print(server.getsockname()[1])

while True:
    data, address = server.recvfrom(1024)
    server.sendto("receive message".encode(), address)
