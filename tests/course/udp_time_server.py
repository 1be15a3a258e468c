# Whatever is asked, the answer is the time. This clock stopped in 1970.
import socket
import sys
import time

host, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((host, port))
print(server.getsockname()[1])

while True:
    _, address = server.recvfrom(1024)
    server.sendto(time.asctime(time.gmtime(0)).encode(), address)
