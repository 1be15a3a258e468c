# Waits until the server is ready, sends a path, then the contents, then closes.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])
filename = sys.argv[3]

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, port))
print(client.recv(1024).decode())
client.send(filename.encode())
with open(filename, "rb") as f:
    data = f.read(1024)
    while data:
        client.sendall(data)
        data = f.read(1024)
client.close()
print("전송 완료")
