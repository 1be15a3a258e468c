# Chat over UDP: the first datagram joins, "quit" leaves.
import socket
import sys
import threading

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

name = sys.argv[3]
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto(f"[{name}] 들어왔습니다".encode(), (host, port))
print("입장:", name)


def receive():
    while True:
        data, _ = client.recvfrom(1024)
        print(data.decode())


threading.Thread(target=receive, daemon=True).start()
while True:
    message = input()
    if message == "quit":
        client.sendto(message.encode(), (host, port))
        break
    client.sendto(f"[{name}] {message}".encode(), (host, port))
client.close()
