# Datagrams come back as they went, the empty one too.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for message in ["안녕", "", "두 번째 데이터그램", "/end"]:
    client.sendto(message.encode(), (host, port))
    data, server = client.recvfrom(1024)
    print(repr(data.decode()), server == (host, port))
client.close()
