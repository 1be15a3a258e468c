# Says that it is ready, receives a name, then the contents until the client closes.
import os
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
folder = sys.argv[3]
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((host, port))
server.listen()
print(server.getsockname()[1])

while True:
    conn, address = server.accept()
    conn.send("I am ready".encode())
    filename = os.path.basename(conn.recv(1024).decode())
    size = 0
    with open(os.path.join(folder, filename), "wb") as f:
        data = conn.recv(1024)
        while data:
            f.write(data)
            size += len(data)
            data = conn.recv(1024)
    conn.close()
    print("받음:", filename, size)
