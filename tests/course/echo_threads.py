# Five friends at once, each in a thread of its own.
import socket
import sys
import threading

socket.setdefaulttimeout(20)
host, port = sys.argv[1], int(sys.argv[2])

answers = {}


def talk(friend):
    client = socket.create_connection((host, port))
    heard = []
    for turn in range(20):
        message = f"{friend}번 친구의 {turn}번째 말"
        client.sendall(message.encode())
        heard.append(client.recv(1024).decode() == message)
    client.close()
    answers[friend] = all(heard)


threads = [threading.Thread(target=talk, args=(friend,)) for friend in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(answers.items()))
