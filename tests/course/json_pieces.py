# TCP keeps no borders: two values in one send, then one value in two.
import json
import socket
import sys
import time

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

client = socket.create_connection((host, port))
client.sendall(json.dumps({"번호": 1}).encode() + json.dumps({"번호": 2}).encode())
wanted = len(json.dumps({"번호": 1})) * 2
text = ""
while len(text) < wanted:
    text += client.recv(1024).decode()
first, end = json.JSONDecoder().raw_decode(text)
second = json.loads(text[end:])
print(first, second)

text = json.dumps({"도시": "서울"}, ensure_ascii=False).encode()
client.sendall(text[:11])  # ends within a character
time.sleep(0.1)
client.sendall(text[11:])
print(json.loads(client.recv(1024).decode()))
client.close()
