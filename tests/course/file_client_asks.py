# Asks for a file by its name, and half-closes because it has nothing more to say.
import os
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])
folder, wanted = sys.argv[3], sys.argv[4]

client = socket.create_connection((host, port))
client.sendall(wanted.encode())
client.shutdown(socket.SHUT_WR)
filename = client.recv(1024).decode()
print("파일 이름:", filename)
with open(os.path.join(folder, "받은_" + filename), "wb") as f:
    while True:
        data = client.recv(4096)
        if not data:
            break
        f.write(data)
client.close()
print("완료")
