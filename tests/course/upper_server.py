# One message in upper case, then closes.
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
    sentence = conn.recv(2048).decode()
    conn.send(sentence.upper().encode())
    conn.close()
