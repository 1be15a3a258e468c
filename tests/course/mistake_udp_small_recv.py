# UDP drops what does not fit in the buffer; the next recvfrom gets the next datagram.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for message in ["hello world", "bye"]:
    client.sendto(message.encode(), (host, port))
for _ in range(2):
    data, _ = client.recvfrom(5)
    print(data.decode())
client.close()
