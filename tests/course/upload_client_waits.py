# Sends a name, waits a little, then the contents, so that the two arrive apart.
import os
import socket
import sys
import time

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])
filename = sys.argv[3]

client = socket.create_connection((host, port))
print(client.recv(1024).decode())
client.sendall(os.path.basename(filename).encode())
time.sleep(0.5)
with open(filename, "rb") as f:
    client.sendfile(f)
client.close()
print("전송 완료")
