# Greets whoever says anything.
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((host, port))
print(server.getsockname()[1])

while True:
    message, address = server.recvfrom(1024)
    print("Message from Client:", message.decode())
    server.sendto(b"Hello UDP Client", address)
