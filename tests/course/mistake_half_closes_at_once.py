# Says that nothing will come before anything came: no answer, but no waiting either.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
client.shutdown(socket.SHUT_WR)
print(client.recv(1024))
client.close()
