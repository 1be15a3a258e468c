# Whatever is asked, the answer is the time.
import socket
import sys
import time

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto("지금 몇 시예요?".encode(), (host, port))
data, _ = client.recvfrom(1024)
told = time.mktime(time.strptime(data.decode()))
print("지금 시각:", abs(time.time() - told) < 30)
client.close()
