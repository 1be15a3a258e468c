# Goes on after the server closed: recv tells by b"", and sends reach nobody.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
for message in ["first", "second", "third"]:
    try:
        client.send(message.encode())
        print(client.recv(1024))
    except ConnectionError:
        print("연결 끊김")
client.close()
