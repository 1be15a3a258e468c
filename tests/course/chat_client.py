# Chat: one thread prints what others say, the main one sends what is typed.
import socket
import sys
import threading

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

name = sys.argv[3]
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, port))
print("입장:", name)


def receive():
    while True:
        data = client.recv(1024)
        if not data:
            break
        print(data.decode())


threading.Thread(target=receive, daemon=True).start()
while True:
    message = input()
    if message == "bye":
        client.send(message.encode())
        break
    client.send(f"[{name}] {message}".encode())
client.close()
