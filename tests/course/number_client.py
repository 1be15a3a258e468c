# The English word for a number, question after question on one connection.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
for question in [str(number) for number in range(1, 11)] + ["11", "열"]:
    client.send(question.encode())
    print(question, "->", client.recv(1024).decode())
client.close()
