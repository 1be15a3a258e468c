# Sends a path, waits for "ok", then the contents in datagrams; an empty one is the end.
import socket
import sys
import time

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])
filename, size = sys.argv[3], int(sys.argv[4])

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.sendto(filename.encode(), (host, port))
data, server = sock.recvfrom(1024)
print("서버:", data.decode())
with open(filename, "rb") as f:
    data = f.read(size)
    while data:
        sock.sendto(data, (host, port))
        time.sleep(0.002)
        data = f.read(size)
sock.sendto(b"", (host, port))
sock.close()
print("전송 완료")
