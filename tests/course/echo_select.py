# Ten connections in one thread: select tells which of them have an answer.
import select
import socket
import sys

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

waiting = {}
for number in range(10):
    client = socket.create_connection((host, port))
    client.setblocking(False)
    client.send(f"{number}번".encode())
    waiting[client] = number

answers = []
while waiting:
    readable, _, _ = select.select(list(waiting), [], [], 20)
    if not readable:
        sys.exit("20초 동안 답이 없음")
    for client in readable:
        answers.append((waiting.pop(client), client.recv(1024).decode()))
        client.close()
for number, answer in sorted(answers):
    print(number, answer)
