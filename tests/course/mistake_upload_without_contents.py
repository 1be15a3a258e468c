# Mistake: sends a name and forgets the contents.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
print(client.recv(1024).decode())
client.send("과제.txt".encode())
client.close()
