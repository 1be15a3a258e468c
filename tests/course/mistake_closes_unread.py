# Closes while answers are still unread, which resets the connection. Others do not notice.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

other = socket.create_connection((host, port))
for _ in range(20):
    client = socket.create_connection((host, port))
    client.send("대답은 안 읽을래".encode())
    client.recv(1)
    client.close()
other.send("나는 괜찮아".encode())
print(other.recv(1024).decode())
other.close()
