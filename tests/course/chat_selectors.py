# Chat with selectors in place of a thread: greets, and listens until it is told to stop.
import selectors
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

name = sys.argv[3]
selector = selectors.DefaultSelector()
client = socket.create_connection((host, port))
client.setblocking(False)


def receive():
    message = client.recv(1024).decode()
    print(message)
    return "그만" not in message


selector.register(client, selectors.EVENT_READ, receive)
client.send(f"[{name}] 안녕하세요".encode())
listening = True
while listening:
    events = selector.select(timeout=20)
    if not events:
        sys.exit("20초 동안 아무 말도 없음")
    for key, _ in events:
        listening = key.data()
selector.unregister(client)
client.close()
