# recv(2) for letters of three bytes: nothing is lost, but no piece decodes.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
client.send("가나다".encode())
pieces = []
while sum(len(piece) for piece in pieces) < 9:
    pieces.append(client.recv(2))
try:
    print(pieces[0].decode())
except UnicodeDecodeError:
    print("글자가 잘림")
print(b"".join(pieces).decode())
client.close()
