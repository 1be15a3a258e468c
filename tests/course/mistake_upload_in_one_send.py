# Mistake: puts the name and the contents into one send, with nothing between them.
import os
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])
filename = sys.argv[3]

client = socket.create_connection((host, port))
print(client.recv(1024).decode())
with open(filename, "rb") as f:
    client.sendall(os.path.basename(filename).encode() + f.read())
client.close()
