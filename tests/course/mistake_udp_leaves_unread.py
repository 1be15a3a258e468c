# Asks and closes its socket before the answers come, fifty times.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

for _ in range(50):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto("대답은 필요 없어".encode(), (host, port))
    client.close()
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto("이번에는 기다릴게".encode(), (host, port))
print(client.recvfrom(1024)[0].decode())
client.close()
