# Repeats a message to everyone on the network.
import socket
import sys
import time

host, port = sys.argv[1], int(sys.argv[2])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
print(port)
while True:
    sender.sendto("공지: 오늘 휴강".encode(), (host, port))
    time.sleep(0.05)
