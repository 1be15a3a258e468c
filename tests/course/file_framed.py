# The four requests, with makefile: a list, a file, a sum, and a file to keep.
import hashlib
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
stream = client.makefile("rwb")


def ask(request):
    stream.write(request.encode() + b"\n")
    stream.flush()
    return stream.readline().decode().rstrip("\n")


homework = "안녕하세요\n".encode() * 1000
digest = hashlib.sha256(homework).hexdigest()
print(ask(f"PUT {len(homework)} {digest} 과제 1.txt"))
stream.write(homework)
stream.flush()
print(stream.readline().decode().rstrip("\n"))

count = int(ask("LIST").split()[1])
for line in range(count):
    size, name = stream.readline().decode().rstrip("\n").split(" ", 1)
    if name == "과제 1.txt":
        print(size, name)

size = int(ask("GET 16 과제 1.txt").split()[1])
print("나머지가 같음:", stream.read(size - 16) == homework[16:])
print("합이 같음:", ask("SUM 과제 1.txt") == f"OK {size} {digest}")
print(ask("GET 0 없는 파일.txt"))
client.close()
