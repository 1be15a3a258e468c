# Mistake: stops after the first piece and closes, although the file is longer.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
client.send("I am ready".encode())
print("파일 이름:", client.recv(1024).decode())
print("처음:", len(client.recv(1024)))
client.close()
