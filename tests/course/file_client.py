# Says that it is ready, receives a name, then the contents until the server closes.
import os
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])
folder = sys.argv[3]

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, port))
client.send("I am ready".encode())

filename = client.recv(1024).decode()
print("파일 이름:", filename)
size = 0
with open(os.path.join(folder, "받은_" + filename), "wb") as f:
    data = client.recv(1024)
    while data:
        f.write(data)
        size += len(data)
        data = client.recv(1024)
print("받은 크기:", size)
client.close()
