# A send for each byte: TCP runs them together, so one recv is not one send.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

text = "조각조각 보내도 순서는 그대로" * 20
client = socket.create_connection((host, port))
for byte in text.encode():
    client.send(bytes([byte]))
data = b""
while len(data) < len(text.encode()):
    data += client.recv(1024)
print(data.decode() == text)
client.close()
