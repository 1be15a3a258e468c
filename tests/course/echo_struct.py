# A student record in binary, as struct packs it.
import socket
import struct
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

record = struct.Struct("!I20sf")
client = socket.create_connection((host, port))
client.sendall(record.pack(20261234, "홍길동".encode(), 4.5))
data = b""
while len(data) < record.size:
    data += client.recv(record.size - len(data))
number, name, grade = record.unpack(data)
print(number, name.rstrip(b"\0").decode(), grade)
client.close()
