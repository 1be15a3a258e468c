# Upper case over UDP.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((host, port))
print(server.getsockname()[1])

while True:
    data, address = server.recvfrom(2048)
    server.sendto(data.decode().upper().encode(), address)
