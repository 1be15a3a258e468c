# Relays each message to every other client; "bye" leaves.
import socket
import sys
import threading

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((host, port))
server.listen()
print(server.getsockname()[1])
clients = []


def handle(conn):
    while True:
        data = conn.recv(1024)
        if not data or data.decode() == "bye":
            break
        print("중계:", data.decode())
        for other in clients:
            if other is not conn:
                other.send(data)
    clients.remove(conn)
    print("퇴장, 남은 사람:", len(clients))
    conn.close()


while True:
    conn, address = server.accept()
    clients.append(conn)
    print("사람 수:", len(clients))
    threading.Thread(target=handle, args=(conn,), daemon=True).start()
