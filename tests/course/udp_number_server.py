# Words for numbers over UDP.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((host, port))
print(server.getsockname()[1])
words = {"1": "one", "2": "two", "3": "three"}
while True:
    data, address = server.recvfrom(1024)
    server.sendto(words.get(data.decode(), "Try again").encode(), address)
