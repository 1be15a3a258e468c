# One client at a time, until it says /end or leaves.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((host, port))
server.listen()
print(server.getsockname()[1])

while True:
    conn, address = server.accept()
    while True:
        data = conn.recv(1024)
        if not data:
            break
        conn.send(data)
        if data.decode() == "/end":
            break
    conn.close()
