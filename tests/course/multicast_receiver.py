# A member of a group that acknowledges what it hears.
import socket
import struct
import sys

host, port = sys.argv[1], int(sys.argv[2])
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
receiver.bind(("", port))
member = struct.pack("=4s4s", socket.inet_aton(host), socket.inet_aton("127.0.0.1"))
receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
print(receiver.getsockname()[1])
while True:
    data, address = receiver.recvfrom(1024)
    print("받음:", data.decode())
    receiver.sendto(b"ACK", address)
