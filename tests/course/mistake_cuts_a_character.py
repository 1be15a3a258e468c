# Counts letters where send counts bytes: half a character now, the rest later.
import socket
import sys
import time

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

text = "abc가나".encode()
client = socket.create_connection((host, port))
client.send(text[:5])  # "abc" and two thirds of the next
time.sleep(0.2)
client.send(text[5:])
print(client.recv(1024).decode())
client.close()
