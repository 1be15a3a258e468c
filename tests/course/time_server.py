# Tells the time to whoever connects, and closes. This clock stopped in 1970.
import socket
import sys
import time

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((host, port))
server.listen()
print(server.getsockname()[1])

while True:
    conn, address = server.accept()
    conn.send(time.asctime(time.gmtime(0)).encode())
    conn.close()
