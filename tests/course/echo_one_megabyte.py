# Sends a megabyte and, meanwhile, receives until the server is done too.
import socket
import sys
import threading

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

letter = "소켓 프로그래밍 수업 ".encode()
book = letter * (1024 * 1024 // len(letter) + 1)

client = socket.create_connection((host, port))


def send_all():
    client.sendall(book)
    client.shutdown(socket.SHUT_WR)


threading.Thread(target=send_all).start()
received = b""
while True:
    data = client.recv(4096)
    if not data:
        break
    received += data
client.close()
print("1 MB 넘게 보냄:", len(book) >= 1024 * 1024)
print("모두 돌아옴:", received == book)
