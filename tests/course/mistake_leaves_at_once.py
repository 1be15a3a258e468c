# Connects and leaves, a hundred times, as a program in a loop does.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

for _ in range(100):
    socket.create_connection((host, port)).close()
client = socket.create_connection((host, port))
client.send("이번에는 진짜".encode())
print(client.recv(1024).decode())
client.close()
