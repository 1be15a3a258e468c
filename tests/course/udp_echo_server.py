# Sends each datagram back to where it came from.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((host, port))
print(server.getsockname()[1])

while True:
    data, address = server.recvfrom(65535)
    server.sendto(data, address)
