# bytes is not str, in either direction.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
try:
    client.send("안녕")
except TypeError as error:
    print("TypeError:", error)
client.send("안녕".encode())
answer = client.recv(1024)
print(answer, answer == "안녕", answer.decode() == "안녕")
client.close()
