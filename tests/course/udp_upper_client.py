# Upper case over UDP.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto("hello, 유디피".encode(), (host, port))
modified, server = client.recvfrom(2048)
print(modified.decode())
client.close()
