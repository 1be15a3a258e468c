# Counts letters where send counts bytes: half a character now, the rest later.
import socket
import sys
import time

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

text = "한글 é".encode()
client = socket.create_connection((host, port))
client.send(text[:2])  # two thirds of the first
time.sleep(0.05)
client.send(text[2:])
client.shutdown(socket.SHUT_WR)
answer = b""
while data := client.recv(1024):
    answer += data
print(answer.decode())
client.close()
