# The first UDP program: say hello, be greeted.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(family=socket.AF_INET, type=socket.SOCK_DGRAM)
client.sendto(str.encode("Hello UDP Server"), (host, port))
message, address = client.recvfrom(1024)
print(f"Message from Server: {message.decode()}")
client.close()
