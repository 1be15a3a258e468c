# Waits for a server that waits for it. After the timeout the connection is still good.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
client.settimeout(0.5)
try:
    print(client.recv(1024))
except socket.timeout:
    print("서로 기다림")
client.settimeout(20)
client.send("먼저 말하기".encode())
print(client.recv(1024).decode())
client.close()
