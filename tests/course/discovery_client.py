# Asks everyone by broadcast and lists who answers until it is quiet.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
client.sendto("누구 있어요?".encode(), (host, port))
try:
    while True:
        data, (address, _) = client.recvfrom(1024)
        print(f"{address}: {data.decode()}")
        client.settimeout(0.5)
except socket.timeout:
    print("더 없음")
client.close()
