# Sends what readline() returned, line end and all: answered as lines.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
for line in ["1\n", "2\n", "둘\n"]:
    client.send(line.encode())
    print(repr(client.recv(1024).decode()))
client.close()

client = socket.create_connection((host, port))
for line in ["3\r\n", "4\r\n"]:
    client.send(line.encode())
    print(repr(client.recv(1024).decode()))
client.close()
