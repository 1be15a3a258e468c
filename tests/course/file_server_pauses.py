# Sends a file to whoever says anything: its name, a pause, then its contents.
import os
import socket
import sys
import time

host, port = sys.argv[1], int(sys.argv[2])
filename = sys.argv[3]
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((host, port))
server.listen()
print(server.getsockname()[1])

while True:
    conn, address = server.accept()
    conn.recv(1024)
    conn.send(os.path.basename(filename).encode())
    time.sleep(0.1)
    with open(filename, "rb") as f:
        data = f.read(1024)
        while data:
            conn.sendall(data)
            data = f.read(1024)
    conn.close()
