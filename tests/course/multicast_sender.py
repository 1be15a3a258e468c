# Sends to a group and waits for the members to acknowledge.
import socket
import struct
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("b", 1))
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
sender.sendto("여러분 안녕".encode(), (host, port))
try:
    while True:
        data, server = sender.recvfrom(16)
        print("받음:", data.decode())
        sender.settimeout(0.5)
except socket.timeout:
    print("더 없음")
finally:
    sender.close()
