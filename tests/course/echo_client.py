# One message, one answer, until the user types /end.
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, port))
for message in ["안녕하세요", "Hello, 서버!", "/end"]:
    client.send(message.encode())
    data = client.recv(1024)
    print("받은 메시지:", data.decode())
print("연결 종료:", client.recv(1024))
client.close()
