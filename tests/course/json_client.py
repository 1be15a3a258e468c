# A dictionary goes there and back, written in both ways that json.dumps has.
import json
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

student = {"이름": "홍길동", "학번": 20261234, "과목": ["소켓", "그래픽"], "평점": 4.5, "휴학": None}

client = socket.create_connection((host, port))
for ascii_only in [True, False]:
    client.send(json.dumps(student, ensure_ascii=ascii_only).encode())
    answer = client.recv(2048).decode()
    print("같은 값:", json.loads(answer) == student, "같은 글:", answer == json.dumps(student))
client.close()
