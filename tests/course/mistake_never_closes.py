# Forgets close(), and the program ends in the middle of the conversation.
import os
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
client.send("닫는 것을 잊었다".encode())
print(client.recv(1024).decode())
sys.stdout.flush()
client.send("읽지도 않고 끝난다".encode())
os._exit(0)
